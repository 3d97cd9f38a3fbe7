"""Chooses a dtype that the machine multiplies fast, and parses names of dtypes and devices."""

import torch

from dynexit.errors import DynexitError
from dynexit.model.names import check_dtype, split_devices


def parse_dtype(name: str | torch.dtype) -> torch.dtype:
    """The dtype that `name` means."""
    if isinstance(name, torch.dtype):
        return name
    dtype: torch.dtype = getattr(torch, check_dtype(name))
    return dtype


def fast_dtype(device: torch.device) -> torch.dtype:
    """bf16 with hardware support for it (CUDA 8.0+, AVX-512-BF16, AMX), fp32 otherwise."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16
    capable = device.type == "cpu" and cpu_has_bf16()
    return torch.bfloat16 if capable else torch.float32


def cpu_has_bf16() -> bool:
    """Whether this CPU has instructions that multiply bf16."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if capabilities:
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def parse_device(name: str | torch.device | None) -> torch.device:
    """The device that `name` means; None is CUDA where there is one, else the CPU."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise DynexitError(f"device {name!r} is not known: use cpu, cuda or cuda:N.") from error
    if device.type not in ("cpu", "cuda"):
        raise DynexitError(f"device {name!r} is not supported: use cpu or cuda.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DynexitError("no CUDA device is available here: use --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DynexitError(
            f"device {name!r} does not exist: CUDA has {torch.cuda.device_count()} here."
        )
    return device


def parse_devices(names: str | torch.device | None) -> list[torch.device]:
    """The devices that a list such as "cuda:0,cuda:1" names, in order; one as `parse_device`."""
    if not isinstance(names, str):
        return [parse_device(names)]
    return [parse_device(name) for name in split_devices(names)]
