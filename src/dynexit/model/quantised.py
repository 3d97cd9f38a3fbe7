"""Checkpoints whose weights have formats of their own: GGUF files and quantised folders."""

from collections import defaultdict
from pathlib import Path

import torch

from dynexit.model.affine.weights import open_affine
from dynexit.model.gguf.files import is_gguf
from dynexit.model.stored import StoredWeights

KINDS = {"model.embed_tokens": "embedding", "lm_head": "head"}
NORMS = "norms"


def stored_weights(checkpoint: Path) -> StoredWeights | None:
    """Such weights; None where a folder's have the one dtype that is asked for.

    Raises:
        DynexitError: a format that does not run, or files that are missing or damaged.
    """
    if is_gguf(checkpoint):
        from dynexit.model.gguf.weights import open_weights  # the gguf package is for these alone

        return open_weights(checkpoint)
    return open_affine(checkpoint)


def tensor_bytes(weights: StoredWeights) -> dict[str, dict[str, int]]:
    """Kind of weight -> format -> bytes in the files."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for name in weights.keys():  # noqa: SIM118  # no mapping
        stored = weights.stored(name)
        found[_kind(name)][stored.type] += stored.bytes
    return {kind: dict(types) for kind, types in found.items()}


def _kind(name: str) -> str:
    module = name.rpartition(".")[0]
    if "norm" in module:
        return NORMS
    return KINDS.get(module) or ("attention" if ".self_attn." in name else "feed-forward")


def types_of(weights: StoredWeights) -> str:
    """The formats of all matrices, the largest share first."""
    shares: dict[str, int] = defaultdict(int)
    for kind, types in tensor_bytes(weights).items():
        for name, size in types.items():
            shares[name] += size if kind != NORMS else 0
    return ", ".join(sorted((name for name in shares if shares[name]), key=lambda n: -shares[n]))


def dequantised(checkpoint: Path, dtype: torch.dtype) -> str | None:
    """What running a checkpoint in `dtype` costs, in a sentence; None where it is not quantised."""
    if (weights := stored_weights(checkpoint)) is None:
        return None
    stored = [weights.stored(name) for name in weights.keys()]  # noqa: SIM118
    if not any(one.quantised for one in stored):
        return None
    held, numbers = sum(one.bytes for one in stored), sum(one.count for one in stored)
    name = str(dtype).removeprefix("torch.")
    return (
        f"{checkpoint.name} is quantised ({types_of(weights)}) and runs dequantised to {name} "
        f"here: {numbers * dtype.itemsize / 1e6:.0f} MB of weights instead of {held / 1e6:.0f} MB."
    )
