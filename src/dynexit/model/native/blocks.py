"""A GGUF file straight into the native library, whose matrices stay as the file has them.

What the library has no kernel for is held as the nearest numbers that lose nothing: bf16 or fp32.
"""

import warnings
from collections.abc import Iterator, Sequence
from itertools import groupby
from math import prod
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.gguf.header import Tensor as GgufTensor
from dynexit.model.gguf.summary import tensor_bytes, types_of
from dynexit.model.gguf.weights import GgufWeights, open_weights
from dynexit.model.loading import without_memory
from dynexit.model.native.transformer import Blocks, NativeTransformer
from dynexit.model.weights import Part, weight_map

GROUP = 32  # outputs that share a format in the library


def load_blocks(
    file: Path, config: ModelConfig, dtype: torch.dtype, isa: str | None = None
) -> NativeTransformer:
    """Pack a file matrix by matrix.

    Args:
        dtype: of keys and values.
        isa: as for `NativeTransformer`.

    Raises:
        DynexitError: a tensor that is missing, misshapen or of a type that does not run.
    """
    native = NativeTransformer(config, dtype, isa=isa, weights="given")
    weights = open_weights(file)
    widened: list[GgufTensor] = []
    for name, parameters in _modules(weights, config):
        weight, bias = parameters["weight"], parameters.get("bias")
        values = None if bias is None else _floats(weights, bias)
        blocks = _blocks(weights, weight, native)
        if blocks:
            native.pack_blocks(name, blocks, values)
        else:
            numbers = _floats(weights, weight)
            native.pack(name, _module(numbers, values))
            widened += [t for t in _tensors(weights, weight) if _is_wider(t, numbers)]
    _tell(file, widened)
    native.runtime_name += f", {types_of(tensor_bytes(file))}"
    return native


def _modules(
    weights: GgufWeights, config: ModelConfig
) -> Iterator[tuple[str, dict[str, tuple[Part, ...]]]]:
    """Names of modules, and the tensors of each of their parameters, which fit."""
    shapes = {name: p.shape for name, p in without_memory(config, torch.float32).named_parameters()}
    known = set(weights.keys())
    for name, group in groupby(weight_map(config).items(), key=lambda i: i[0].rpartition(".")[0]):
        found = {ours.rpartition(".")[2]: (parts, shapes[ours]) for ours, parts in group}
        for part, shape in ((part, shape) for parts, shape in found.values() for part in parts):
            if part.name not in known:
                raise DynexitError(f"{weights.header.file} has no tensor {part.name!r}.")
            wanted = (part.stop - part.start, *shape[1:])
            if (got := weights.tensor(part.name).shape) != wanted:
                raise DynexitError(
                    f"tensor {part.name!r} has shape {got}, but the model asks for {wanted}."
                )
        yield name, {kind: parts for kind, (parts, _) in found.items()}


def _blocks(
    weights: GgufWeights, parts: Sequence[Part], native: NativeTransformer
) -> list[Blocks] | None:
    """A matrix's parts as they lie in the file; None where the library cannot take them so."""
    tensors = _tensors(weights, parts)
    if not all(native.has_format(tensor.type) for tensor in tensors):
        return None
    mixed = len({tensor.type for tensor in tensors}) > 1
    if mixed and any(tensor.shape[0] % GROUP for tensor in tensors[:-1]):
        return None
    return [
        Blocks(weights.rows(part.name), tensor.shape[1], tensor.type)
        for part, tensor in zip(parts, tensors, strict=True)
    ]


def _tensors(weights: GgufWeights, parts: Sequence[Part]) -> list[GgufTensor]:
    return [weights.tensor(part.name) for part in parts]


def _is_wider(tensor: GgufTensor, numbers: Tensor) -> bool:
    return tensor.bytes < prod(tensor.shape) * numbers.itemsize


def _tell(file: Path, widened: Sequence[GgufTensor]) -> None:
    """Say what takes more memory than in the file."""
    if held := sum(tensor.bytes for tensor in widened):
        types = ", ".join(sorted({tensor.type.name for tensor in widened}))
        size = sum(4 * prod(tensor.shape) for tensor in widened)
        warnings.warn(
            f"{file.name}: {len(widened)} matrices of {types} are in fp32, {size / 1e6:.0f} MB "
            f"instead of {held / 1e6:.0f} MB: there is no kernel for them as they are.",
            stacklevel=4,
        )


def _floats(weights: GgufWeights, parts: Sequence[Part]) -> Tensor:
    """All parts as bf16 where they are, else as fp32."""
    tensors = [weights.get_tensor(part.name) for part in parts]
    kept = all(tensor.dtype is torch.bfloat16 and tensor.ndim > 1 for tensor in tensors)
    return torch.cat([tensor if kept else tensor.float() for tensor in tensors])


def _module(weight: Tensor, bias: Tensor | None) -> Module:
    """What `NativeTransformer.pack` takes."""
    module = Module()
    module.register_parameter("weight", Parameter(weight, requires_grad=False))
    if bias is not None:
        module.register_parameter("bias", Parameter(bias, requires_grad=False))
    return module
