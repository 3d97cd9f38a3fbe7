"""What a GGUF file's tensors are and take, by kind."""

from collections import defaultdict
from collections.abc import Mapping
from math import prod
from pathlib import Path

import torch

from dynexit.model.gguf.blocks import QUANTISED
from dynexit.model.gguf.header import Header
from dynexit.model.gguf.shape import EMBEDDING, HEAD
from dynexit.model.gguf.weights import joined_header

KINDS = {EMBEDDING: "embedding", HEAD: "head"}


def tensor_bytes(file: Path) -> dict[str, dict[str, int]]:
    """Kind of tensor -> type -> bytes, of a whole model."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for name, tensor in joined_header(file).tensors.items():
        found[KINDS.get(name) or _kind(name)][tensor.type.name] += tensor.bytes
    return {kind: dict(types) for kind, types in found.items()}


def _kind(name: str) -> str:
    if "norm" in name or name.startswith("rope"):
        return "norms"
    return "attention" if ".attn_" in name else "feed-forward"


def types_of(tensors: Mapping[str, Mapping[str, int]]) -> str:
    """The types of all matrices, the largest share first."""
    shares: dict[str, int] = defaultdict(int)
    for kind, types in tensors.items():
        for name, size in types.items():
            shares[name] += size if kind != "norms" else 0
    return ", ".join(sorted((name for name in shares if shares[name]), key=lambda n: -shares[n]))


def dequantised(file: Path, dtype: torch.dtype) -> str | None:
    """What running a file in `dtype` costs, in a sentence; None where it is not quantised."""
    header: Header = joined_header(file)
    if not any(tensor.type in QUANTISED for tensor in header.tensors.values()):
        return None
    held = sum(tensor.bytes for tensor in header.tensors.values())
    numbers = sum(prod(tensor.shape) for tensor in header.tensors.values())
    name = str(dtype).removeprefix("torch.")
    return (
        f"{file.name} is quantised ({types_of(tensor_bytes(file))}) and runs dequantised to {name} "
        f"here: {numbers * dtype.itemsize / 1e6:.0f} MB of weights instead of {held / 1e6:.0f} MB."
    )
