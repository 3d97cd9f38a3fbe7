"""A GGUF file's tensors under the names of a Hugging Face checkpoint."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from dynexit.errors import DynexitError, reason
from dynexit.model.config import ModelConfig
from dynexit.model.gguf.blocks import QUANTISED, check_type, floats_of
from dynexit.model.gguf.files import parts_of
from dynexit.model.gguf.header import Header, MappedFile, Tensor, read_header
from dynexit.model.gguf.shape import EMBEDDING, FREQUENCIES, HEAD
from dynexit.model.stored import Blocks, Stored

ENDS = {
    "model.embed_tokens.weight": EMBEDDING,
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": HEAD,
}
LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
ARCHITECTURES = {"mistral": "llama"}  # of families that have another name there
PAIRED = (
    "llama",
)  # architectures whose queries and keys have dimensions that turn together as neighbours


class GgufWeights:
    """Tensors of all parts of a model. See `StoredWeights`."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self._tensors = dict(_named(header))
        self._files: dict[Path, MappedFile] = {}

    def keys(self) -> Iterator[str]:
        """See `StoredWeights`."""
        return iter(self._tensors)

    def stored(self, name: str) -> Stored:
        """See `StoredWeights`."""
        tensor = self.tensor(name)
        return Stored(tensor.shape, tensor.type.name, tensor.bytes, tensor.type in QUANTISED)

    def get_tensor(self, name: str) -> torch.Tensor:
        """See `StoredWeights`."""
        tensor = self.tensor(name)
        file, order = self._file(tensor), self.row_order(name)
        numbers = floats_of(tensor, file)
        file.let_go(tensor)
        return numbers if order is None else numbers[order]

    def _file(self, tensor: Tensor) -> MappedFile:
        if tensor.file not in self._files:
            self._files[tensor.file] = MappedFile(tensor.file)
        return self._files[tensor.file]

    def tensor(self, name: str) -> Tensor:
        """Where it lies.

        Raises:
            DynexitError: it has a type that does not run.
        """
        tensor = self._tensors[name]
        check_type(tensor)
        return tensor

    def blocks(self, name: str) -> Blocks | None:
        """See `StoredWeights`. Rows are in our order."""
        tensor = self.tensor(name)
        if tensor.type not in QUANTISED:
            return None
        file, order = self._file(tensor), self.row_order(name)
        rows = tensor.read(file)
        if order is not None:
            rows = rows[order.numpy()]
            file.let_go(tensor)
        return Blocks(rows, tensor.shape[1], tensor.type, mapped=order is None)

    def numbers(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        """See `StoredWeights`. A matrix of floats keeps their type."""
        tensor = self.get_tensor(name)
        return tensor if tensor.ndim > 1 else tensor.float()

    def row_order(self, name: str) -> torch.Tensor | None:
        """Which of the file's rows is each of ours; None where they are in order.

        Dimensions that turn together are neighbours in llama.cpp and half a head apart here.
        """
        metadata = self.header.metadata
        family = metadata["general.architecture"]
        heads = {"q_proj": "head_count", "k_proj": "head_count_kv"}
        projection = name.split(".")[-2]
        if family not in PAIRED or projection not in heads:
            return None
        count = metadata.get(f"{family}.attention.head_count")
        count = metadata.get(f"{family}.attention.{heads[projection]}", count)
        rows = torch.arange(self._tensors[name].shape[0])
        if not isinstance(count, int) or count < 1 or len(rows) % (2 * count):
            raise DynexitError(
                f"tensor {name!r} has {len(rows)} rows, which do not fit {count} heads."
            )
        return rows.view(count, -1, 2).transpose(1, 2).flatten()


def _named(header: Header) -> Iterator[tuple[str, Tensor]]:
    """Tensors by their names there. Leaving out an unknown one would make another model of it."""
    ours = {theirs: name for name, theirs in ENDS.items()}
    kinds = {theirs: name for name, theirs in LAYER.items()}
    for name, tensor in header.tensors.items():
        at = name.split(".")
        if name in ours:
            yield ours[name], tensor
        elif len(at) == 4 and at[0] == "blk" and at[2] in kinds:
            yield f"model.layers.{at[1]}.{kinds[at[2]]}.{at[3]}", tensor
        elif name != FREQUENCIES:
            raise DynexitError(f"{header.file} has a tensor {name!r}, which is not supported.")


def name_in_file(name: str) -> str:
    """A tensor's name there."""
    if name in ENDS:
        return ENDS[name]
    _, _, layer, rest = name.split(".", 3)
    module, _, kind = rest.rpartition(".")
    return f"blk.{layer}.{LAYER[module]}.{kind}"


def order_in_file(name: str, values: torch.Tensor, config: ModelConfig) -> torch.Tensor:
    """A tensor with its rows as they lie there: the other way round from `row_order`."""
    heads = {"q_proj": config.num_heads, "k_proj": config.num_kv_heads}.get(name.split(".")[-2])
    if heads is None or ARCHITECTURES.get(config.family, config.family) not in PAIRED:
        return values
    return values.view(heads, 2, -1, *values.shape[1:]).transpose(1, 2).reshape(values.shape)


@lru_cache(maxsize=4)
def _joined(parts: tuple[tuple[Path, int, int], ...]) -> Header:
    """One header of all parts; the key names each file's size and time, so that none is stale."""
    headers = [read_header(file) for file, *_ in parts]
    tensors: dict[str, Tensor] = {}
    for header in headers:
        if twice := tensors.keys() & header.tensors.keys():
            raise DynexitError(f"{header.file} repeats tensor {min(twice)!r} of an earlier part.")
        tensors |= header.tensors
    return Header(
        headers[0].file, _checked(headers[0].metadata, len(parts), headers[0].file), tensors
    )


def _checked(metadata: Mapping[str, Any], parts: int, file: Path) -> Mapping[str, Any]:
    count = metadata.get("split.count", 1)
    if type(count) is not int or max(count, 1) != parts:
        raise DynexitError(
            f"{file} is one of {count} parts, but {parts} were found: parts must be named "
            "NAME-00001-of-00003.gguf and so on."
        )
    return metadata


def joined_header(file: Path) -> Header:
    """The header of a model, all of whose parts are there.

    Raises:
        DynexitError: a part that is missing or damaged.
    """
    try:
        stats = [(part, part.stat()) for part in parts_of(file)]
    except OSError as error:
        raise DynexitError(f"{file} cannot be read: {reason(error)}.") from error
    return _joined(tuple((part, s.st_size, s.st_mtime_ns) for part, s in stats))


def open_weights(file: Path) -> GgufWeights:
    """The tensors of a model."""
    return GgufWeights(joined_header(file))
