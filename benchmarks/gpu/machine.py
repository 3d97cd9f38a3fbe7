"""What the parts ran on."""

import platform
import subprocess
from importlib.metadata import version
from typing import Any

import torch

from dynexit.bench.provenance import ROOT, commit_of
from dynexit.environment import processor

TOLD = "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,memory.total"


def machine(device: torch.device) -> dict[str, Any]:
    """Versions, and what the driver says of the card."""
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "python": platform.python_version(),
        "processor": processor(),
        "commit": commit_of(ROOT),
        "device": str(device),
    }
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        found |= {"device": about.name, "memory_bytes": about.total_memory}
        found |= {"processors": about.multi_processor_count, "cuda": torch.version.cuda}
        found["driver"] = driver_says()
    return found


def driver_says() -> dict[str, str]:
    """Clocks and power now; nothing where the driver's tool is missing."""
    command = ["nvidia-smi", f"--query-gpu={TOLD}", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = told.stdout.splitlines()[0].split(", ")
    return dict(zip(TOLD.split(","), values, strict=False))
