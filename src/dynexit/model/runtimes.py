"""Which runtime a checkpoint's layers run in: the native library where it can, else PyTorch, whose
passes are recorded and replayed where they can be.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.dtypes import fast_dtype, parse_dtype
from dynexit.model.graphs import trial
from dynexit.model.interface import Configured
from dynexit.model.loading import load_model
from dynexit.model.names import check_runtime
from dynexit.model.native.binding import is_fast
from dynexit.model.native.blocks import load_blocks
from dynexit.model.native.loading import load_native, obstacle
from dynexit.model.quantised import dequantised, stored_weights
from dynexit.model.ranks.group import current
from dynexit.model.ranks.loading import load_sharded


def load_into(
    runtime: str | None,
    folder: Path,
    config: ModelConfig,
    dtype: str | torch.dtype | None,
    devices: Sequence[torch.device],
) -> Configured:
    """A checkpoint's weights in `runtime`; None is native where that is possible, else graphs. A
    masked-diffusion model, which attends in both directions, runs eagerly beside any other.

    Args:
        dtype: None is bf16 in the native runtime, which reads it fast on every processor with wide
            vectors, and else what the first device multiplies fast. Quantised weights stay as they
            are in the native runtime, unless a dtype is given.
        devices: several share the layers among them, in PyTorch. Where this process is one of
            several, each holds a part of a causal model (`ranks`).

    Raises:
        DynexitError: a runtime that is not known or cannot run this, or as `load_model`.
    """
    check_runtime(runtime)
    if config.mask_token is not None:
        runtime = "eager"
    elif (ranks := current()) is not None:
        return load_sharded(ranks, runtime, folder, config, dtype, devices)
    native = runtime in (None, "native")
    chosen = fast_dtype(devices[0]) if dtype is None else parse_dtype(dtype)
    if dtype is None and native and is_fast() and not obstacle(config, torch.bfloat16, *devices):
        chosen = torch.bfloat16
    reason = obstacle(config, chosen, *devices)
    if runtime == "native" and reason:
        raise DynexitError(f"the native runtime cannot be used: {reason}; use --runtime eager.")
    if native and not reason and dtype is None and stored_weights(folder):
        return load_blocks(folder, config, chosen)
    if native and not reason:
        warn_of_dequantising(folder, chosen)
        return load_native(folder, config, chosen)
    return _load_torch(runtime, folder, config, chosen, devices)


def warn_of_dequantising(folder: Path, dtype: torch.dtype) -> None:
    """Say what quantised weights take where they do not run as they are."""
    if note := dequantised(folder, dtype):
        warnings.warn(note, stacklevel=3)


def _load_torch(
    runtime: str | None,
    folder: Path,
    config: ModelConfig,
    dtype: torch.dtype,
    devices: Sequence[torch.device],
) -> Configured:
    """In PyTorch, replayed where that is wanted and, for None, possible."""
    reason = trial.obstacle(*devices)
    if runtime == "graphs" and reason:
        raise DynexitError(f"the graphs runtime cannot be used: {reason}; use --runtime eager.")
    warn_of_dequantising(folder, dtype)
    model = load_model(folder, config, dtype, *devices)
    if runtime == "eager" or reason:
        return model
    return trial.recorded(model) if runtime else trial.recorded_if_possible(model)
