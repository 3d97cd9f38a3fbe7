"""Which runtime a checkpoint's layers run in: the native library where it can, else PyTorch."""

from pathlib import Path

import torch

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.interface import Model
from dynexit.model.loading import load_model
from dynexit.model.native.loading import load_native, obstacle

RUNTIMES = ("native", "eager")


def load_into(
    runtime: str | None, folder: Path, config: ModelConfig, dtype: torch.dtype, device: torch.device
) -> Model:
    """A checkpoint's weights in `runtime`; None is native where that is possible.

    Raises:
        DynexitError: a runtime that is not known or cannot run this, or as `load_model`.
    """
    if runtime not in (None, *RUNTIMES):
        raise DynexitError(f"runtime {runtime!r} is not known: use {' or '.join(RUNTIMES)}.")
    reason = obstacle(config, dtype, device)
    if runtime == "native" and reason:
        raise DynexitError(f"the native runtime cannot be used: {reason}; use --runtime eager.")
    if runtime == "eager" or reason:
        model = load_model(folder, config, dtype, device)
        model.pack_head()
        return model
    return load_native(folder, config, dtype)
