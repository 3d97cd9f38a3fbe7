"""Loads quantised weights into the native library, where they stay quantised.

Matrices in other formats are held as bf16, fp16 or fp32 numbers.
"""

import warnings
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.native.transformer import NativeTransformer
from dynexit.model.quantised import stored_weights, types_of
from dynexit.model.stored import Blocks, Stored, StoredWeights
from dynexit.model.weight_files import check_weights, wanted_of
from dynexit.model.weights import Part

GROUP = 32  # outputs that share a format in the library


def load_blocks(
    checkpoint: Path, config: ModelConfig, dtype: torch.dtype, isa: str | None = None
) -> NativeTransformer:
    """Pack a quantised checkpoint matrix by matrix.

    Args:
        dtype: of keys and values, and of matrices that are not quantised where the checkpoint
            leaves it open.
        isa: as for `NativeTransformer`.

    Raises:
        DynexitError: a tensor that is missing, misshapen or of a type that does not run.
    """
    check_weights(checkpoint, config)
    weights = stored_weights(checkpoint)
    if weights is None:
        raise DynexitError(f"{checkpoint} is not quantised.")
    native = NativeTransformer(config, dtype, isa=isa, weights="given")
    widened: list[Stored] = []
    wanted, _ = wanted_of(checkpoint, config)
    for name, group in groupby(wanted.items(), key=lambda item: item[0].rpartition(".")[0]):
        parts = {ours.rpartition(".")[2]: found for ours, found in group}
        bias = _numbers(weights, parts["bias"], dtype) if "bias" in parts else None
        if blocks := _blocks(weights, parts["weight"], native):
            native.pack_blocks(name, blocks, bias)
        else:
            numbers = _numbers(weights, parts["weight"], dtype)
            native.pack(name, _module(numbers, bias))
            stored = [weights.stored(part.name) for part in parts["weight"] if part.inputs]
            widened += [one for one in stored if one.bytes < one.count * numbers.itemsize]
    _tell(checkpoint, widened)
    native.runtime_name += f", {types_of(weights)}"
    return native


def _blocks(
    weights: StoredWeights, parts: Sequence[Part], native: NativeTransformer
) -> list[Blocks] | None:
    """A matrix's parts as blocks; None if the library has no kernel for them."""
    found = [weights.blocks(part.name) for part in parts]
    blocks = [one for one in found if one is not None and native.has_format(one.type)]
    mixed = len({one.type for one in blocks}) > 1
    odd = mixed and any(len(one.rows) % GROUP for one in blocks[:-1])
    return None if odd or len(blocks) < len(found) else blocks


def _numbers(weights: StoredWeights, parts: Sequence[Part], dtype: torch.dtype) -> Tensor:
    """All parts in one dtype: their own, or fp32."""
    tensors = [weights.numbers(part.name, dtype) for part in parts]
    one = len({tensor.dtype for tensor in tensors}) == 1
    return torch.cat([tensor if one else tensor.float() for tensor in tensors])


def _tell(checkpoint: Path, widened: Sequence[Stored]) -> None:
    """Warn of matrices that take more memory than in the file."""
    if held := sum(one.bytes for one in widened):
        types = ", ".join(sorted({one.type for one in widened}))
        size = sum(4 * one.count for one in widened)
        warnings.warn(
            f"{checkpoint.name}: {len(widened)} matrices of {types} are in fp32, "
            f"{size / 1e6:.0f} MB instead of {held / 1e6:.0f} MB: there is no kernel for them as "
            "they are.",
            stacklevel=4,
        )


def _module(weight: Tensor, bias: Tensor | None) -> Module:
    """What `NativeTransformer.pack` takes."""
    module = Module()
    module.register_parameter("weight", Parameter(weight, requires_grad=False))
    if bias is not None:
        module.register_parameter("bias", Parameter(bias, requires_grad=False))
    return module
