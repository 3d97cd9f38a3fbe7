"""Write a model as a GGUF file that llama.cpp loads, and that this package reads as the same model.

Vectors are F32. Tensors are read, rounded and written one after the other, so that one of them is
in memory at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from gguf import GGML_QUANT_VERSION, GGUFReader, GGUFWriter, LlamaFileType
from gguf.constants import GGML_QUANT_SIZES
from gguf.constants import GGMLQuantizationType as Type
from gguf.quants import quantize
from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.files import replacing
from dynexit.model.gguf.blocks import FLOATS, ROWS, floats_of
from dynexit.model.gguf.files import is_gguf
from dynexit.model.gguf.shape import EMBEDDING, FREQUENCIES, HEAD, NUMBERS, SIZES
from dynexit.model.gguf.vocabulary import add_ends, add_tokenizer
from dynexit.model.gguf.weights import ARCHITECTURES, joined_header, name_in_file, order_in_file
from dynexit.model.loading import load_eos, load_shape
from dynexit.model.quantised import stored_weights, types_of
from dynexit.model.rope import inverse_frequencies
from dynexit.model.saving import config_json
from dynexit.model.tokenizer import load_tokenizer
from dynexit.model.transformer import Transformer
from dynexit.model.weight_files import check_weights, opened, wanted_of
from dynexit.model.weights import weight_map

# What a new file says of itself anew.
OWN = (
    *("general.architecture", "general.alignment", "general.file_type"),
    *("general.quantization_version", "split.", "GGUF."),
)
Rows = np.ndarray[tuple[int, int], np.dtype[np.uint8]]
Describe = Callable[[GGUFWriter], None]
Encode = Callable[[Tensor, Type], Rows]


@dataclass(frozen=True)
class Outgoing:
    """A tensor under its name in the file, and how its numbers are got."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], Tensor]


@dataclass(frozen=True)
class Source:
    """A model to be written: its metadata and tensors, in order."""

    architecture: str
    describe: Describe
    tensors: Sequence[Outgoing]


class Mixture(Protocol):
    """Which type each matrix gets. `name` is llama.cpp's for the whole."""

    @property
    def name(self) -> str: ...  # noqa: D102

    def __call__(self, tensor: Outgoing, tied: bool) -> Type: ...  # noqa: D102


@dataclass(frozen=True)
class Types:
    """One type for all matrices but the head. A head that is the embedding, too, is a head."""

    matrices: Type
    head: Type
    name: str

    @classmethod
    def of(cls, kind: str, head: str | None = None) -> "Types":
        """By names of `names.WRITTEN`; a head of its own has 8 bits where matrices have fewer."""
        small = kind.startswith(("q4", "q5"))
        return cls(Type[kind.upper()], Type[(head or ("q8_0" if small else kind)).upper()], kind)

    def __call__(self, tensor: Outgoing, tied: bool) -> Type:
        """The type of a tensor."""
        if len(tensor.shape) == 1:
            return Type.F32
        is_head = tensor.name == HEAD or (tied and tensor.name == EMBEDDING)
        return self.head if is_head else self.matrices


def checkpoint(folder: Path, name: str | None = None, with_tokenizer: bool = True) -> Source:
    """A checkpoint's folder, or a GGUF file with its metadata as they are.

    Args:
        name: of the model; None is the folder's.
        with_tokenizer: False leaves a folder's out: the file is then for token ids.

    Raises:
        DynexitError: what cannot be loaded, or llama.cpp would not run.
    """
    config = load_shape(folder)
    if config.mask_token is not None:
        raise DynexitError(
            f"{folder} is a masked-diffusion model, which is not quantised here: use it as it is."
        )
    check_weights(folder, config)
    if is_gguf(folder):
        header = joined_header(folder)
        tensors = [Outgoing(n, t.shape, partial(floats_of, t)) for n, t in header.tensors.items()]
        family = header.metadata["general.architecture"]
        return Source(family, partial(_copy_metadata, header.file), tensors)
    tokenizer = load_tokenizer(folder) if with_tokenizer else None
    first = tokenizer.eos if tokenizer else None
    loaded = tokenizer.loaded if tokenizer else None
    wanted, files = wanted_of(folder, config)
    held = [(part.name, files[part.name]) for parts in wanted.values() for part in parts]
    reads = [partial(_read, file, name) for name, file in held]
    return _described(config, reads, loaded, load_eos(folder, first), first, name or folder.name)


def in_memory(model: Transformer, tokenizer: Any, name: str) -> Source:
    """A model that is there; `tokenizer` is transformers'."""
    ours = dict(model.state_dict())
    reads = [
        partial(ours[own].__getitem__, slice(part.start, part.stop))
        for own, parts in weight_map(model.config).items()
        for part in parts
    ]
    eos = tokenizer.eos_token_id
    return _described(model.config, reads, tokenizer, frozenset({eos}), eos, name)


def check_unquantised(checkpoint: Path) -> None:
    """Refuse a checkpoint whose numbers have been rounded: rounding again adds to the error."""
    weights = stored_weights(checkpoint)
    if weights is not None and any(weights.stored(name).quantised for name in weights.keys()):  # noqa: SIM118
        raise DynexitError(
            f"{checkpoint} is already quantised ({types_of(weights)}): give the original "
            "checkpoint, or a GGUF file of it in F32, F16 or BF16."
        )


def write(source: Source, file: Path, types: Mixture, encode: Encode | None = None) -> None:
    """Write a model, all of it or nothing.

    Args:
        encode: numbers as rows of blocks; None rounds them as llama.cpp does.

    Raises:
        DynexitError: a matrix whose rows are no whole blocks, numbers that a type cannot hold, or a
            file that cannot be written.
    """
    tied = all(tensor.name != HEAD for tensor in source.tensors)
    chosen = [(tensor, types(tensor, tied)) for tensor in source.tensors]
    for tensor, kind in chosen:
        if tensor.shape[-1] % (size := GGML_QUANT_SIZES[kind][0]):
            raise DynexitError(
                f"tensor {tensor.name!r} has rows of {tensor.shape[-1]}, not a multiple of "
                f"{kind.name}'s block size {size}: use f16, bf16 or f32."
            )
    with (
        replacing(file) as unfinished,
        closing(GGUFWriter(unfinished, source.architecture)) as writer,
    ):
        source.describe(writer)
        writer.add_quantization_version(GGML_QUANT_VERSION)
        writer.add_file_type(_file_type(types.name))
        for tensor, kind in chosen:
            shape = (*tensor.shape[:-1], _bytes(tensor.shape[-1], kind))
            writer.add_tensor_info(tensor.name, shape, np.dtype(np.uint8), prod(shape), kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor, kind in chosen:
            writer.write_tensor_data(_encoded(tensor, kind, encode or rounded))


def rounded(values: Tensor, kind: Type) -> Rows:
    """Numbers [rows, inputs] in blocks of a type, by the gguf package."""
    rows: Rows = quantize(values.numpy(), kind).view(np.uint8)
    return rows


def _encoded(tensor: Outgoing, kind: Type, encode: Encode) -> Rows:
    """A tensor as [rows, bytes], a few rows at a time."""
    values = tensor.read().reshape(-1, tensor.shape[-1])
    most = torch.finfo(FLOATS.get(kind, torch.float16)).max  # of a block's scale, at least
    rows = np.empty((len(values), _bytes(tensor.shape[-1], kind)), np.uint8)
    for start in range(0, len(rows), ROWS):
        part = values[start : start + ROWS].float()
        least, largest = map(float, part.aminmax())
        if not -most <= least <= largest <= most:  # nor if one is no number
            raise DynexitError(f"tensor {tensor.name!r} has numbers that {kind.name} cannot hold.")
        rows[start : start + ROWS] = encode(part, kind)
    return rows


def _bytes(inputs: int, kind: Type) -> int:
    block, size = GGML_QUANT_SIZES[kind]
    return inputs // block * size


def _file_type(name: str) -> LlamaFileType:
    return next(kind for kind in LlamaFileType if kind.name.endswith(f"_{name.upper()}"))


def _read(file: Path, name: str) -> Tensor:
    with opened(file, name) as weights:
        tensor: Tensor = weights.get_tensor(name)
        return tensor


def _described(
    config: ModelConfig,
    reads: Sequence[Callable[[], Tensor]],
    tokenizer: Any,
    ends: frozenset[int],
    first: int | None,
    name: str,
) -> Source:
    """What `reads` give, in the order of `weight_map`, laid out as by llama.cpp's converter."""
    if config.family == "qwen3" and config.out_bias:
        raise DynexitError("llama.cpp does not support a bias on the output of Qwen3's attention.")

    def describe(writer: GGUFWriter) -> None:
        writer.add_name(name)
        _add_shape(writer, config)
        add_tokenizer(writer, tokenizer, config.vocab_size)
        add_ends(writer, ends, first)

    architecture = ARCHITECTURES.get(config.family, config.family)
    return Source(architecture, describe, list(_tensors(config, reads)))


def _tensors(config: ModelConfig, reads: Sequence[Callable[[], Tensor]]) -> Iterator[Outgoing]:
    parts = [part for parts in weight_map(config).values() for part in parts]
    for part, read in zip(parts, reads, strict=True):

        def ordered(name: str = part.name, read: Callable[[], Tensor] = read) -> Tensor:
            return order_in_file(name, read(), config)

        yield Outgoing(name_in_file(part.name), part.shape, ordered)
    if config.rope.kind in ("llama3", "factors"):
        factors = _slower(config)
        yield Outgoing(FREQUENCIES, tuple(factors.shape), lambda: factors)


def _slower(config: ModelConfig) -> Tensor:
    """By how much each pair of dimensions turns slower than by plain RoPE."""
    plain = replace(config.rope, kind="default")
    frequencies = (inverse_frequencies(rope, config.head_dim) for rope in (plain, config.rope))
    return torch.div(*frequencies)


def _add_shape(writer: GGUFWriter, config: ModelConfig) -> None:
    """A configuration under the keys that `shape.py` reads."""
    own, told = f"{writer.arch}.", config_json(config, torch.float32, None, None)
    for ours, theirs in SIZES.items():
        writer.add_uint32(own + theirs, told[ours])
    for ours, theirs in NUMBERS.items():
        writer.add_float32(own + theirs, told[ours])
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    if config.rope.kind == "linear":
        writer.add_string(own + "rope.scaling.type", config.rope.kind)
        writer.add_float32(own + "rope.scaling.factor", config.rope.factor)


def _copy_metadata(file: Path, writer: GGUFWriter) -> None:
    """All that a file says of its model; its header was checked when it was read."""
    for key, field in GGUFReader(file).fields.items():
        value = field.contents()
        if not key.startswith(OWN) and value != []:  # of which the gguf package writes none
            writer.add_key_value(key, value, field.types[0], field.types[-1])
