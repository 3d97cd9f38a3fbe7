"""Where a figure was measured: versions, machine, and how much memory it took."""

import os
import platform
import resource
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dynexit.model.interface import Model

CLEAR_PEAK = "5"  # proc(5), clear_refs: resets the resident set's high-water mark


def environment(model: Model) -> dict[str, Any]:
    """Everything beside the options that a timing depends on."""
    return {
        "dynexit": _version(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": ", ".join(map(_device_name, model.devices)),
        "dtype": str(model.dtype).removeprefix("torch."),
        "runtime": model.runtime_name,
    }


def _version() -> str:
    try:
        return version("dynexit")
    except PackageNotFoundError:  # a checkout that is only on the path
        return "not installed"


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


@cache
def processor() -> str:
    """The processor's model name, as far as the system tells."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


class PeakMemory:
    """Most bytes held since the object was made: by the CUDA devices, else by the process.

    Where the system cannot reset a process's mark, it is the most since the process began.
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self._gpus = [device for device in devices if device.type == "cuda"]
        for device in self._gpus:
            torch.cuda.reset_peak_memory_stats(device)
        if not self._gpus:
            _reset_process_peak()

    def read(self) -> int:
        """Bytes."""
        if self._gpus:
            return sum(torch.cuda.max_memory_allocated(device) for device in self._gpus)
        return _process_peak()


def _reset_process_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text(CLEAR_PEAK)
    except OSError:
        return


def _process_peak() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
