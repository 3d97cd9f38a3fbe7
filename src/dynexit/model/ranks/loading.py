"""Loads a checkpoint into all processes of a group, each its part of it."""

from collections.abc import Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

import torch

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.dtypes import fast_dtype, parse_dtype
from dynexit.model.quantised import stored_weights
from dynexit.model.ranks.cuts import check_division
from dynexit.model.ranks.group import Ranks
from dynexit.model.ranks.member import Wanted
from dynexit.model.ranks.sharded import Caller, Sharded

_callers: WeakKeyDictionary[Ranks, Caller] = WeakKeyDictionary()


def load_sharded(
    ranks: Ranks,
    runtime: str | None,
    folder: Path,
    config: ModelConfig,
    dtype: str | torch.dtype | None,
    devices: Sequence[torch.device],
) -> Sharded:
    """A checkpoint of which each process holds a part; called in rank 0.

    Raises:
        DynexitError: a model, runtime or device that processes cannot share, or as `load_model`.
    """
    if runtime not in (None, "eager"):
        raise DynexitError(
            f"the {runtime} runtime runs in one process: leave out --runtime, or run it without "
            "torchrun."
        )
    if len(devices) > 1 or devices[0].index is not None:
        raise DynexitError(
            f"each of the {ranks.size} processes has a device of its own: give --device cuda or "
            "cpu, or run it without torchrun."
        )
    if stored_weights(folder):
        raise DynexitError(
            f"{folder} is quantised, and its blocks are not shared among processes: give a "
            "checkpoint in bf16, fp16 or fp32, or run it without torchrun."
        )
    check_division(config, ranks.size)
    chosen = fast_dtype(devices[0]) if dtype is None else parse_dtype(dtype)
    if ranks not in _callers:
        _callers[ranks] = Caller(ranks)
    wanted = Wanted(folder, config, chosen, devices[0].type, torch.get_num_threads())
    return Sharded(_callers[ranks], wanted)
