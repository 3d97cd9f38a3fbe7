"""Weights in the native library: packed once, held once.

Not responsible for running layers (`transformer.py`), nor for reading files (`loading.py`,
`blocks.py`).
"""

from collections.abc import Sequence
from ctypes import byref
from typing import Any

import torch
from torch import Tensor

from dynexit.model.config import ModelConfig
from dynexit.model.native.binding import (
    Format,
    Held,
    Matrix,
    NativeBlocks,
    Shape,
    Uncopied,
    Vector,
    check,
    runtimes,
)
from dynexit.model.stored import Blocks
from dynexit.model.threads import cores

FORMATS = {torch.bfloat16: Format.BF16, torch.float32: Format.FP32}
TENSORS = {**FORMATS, torch.float16: Format.FP16}
MULTIPLIED = {**{number: dtype for dtype, number in FORMATS.items()}, Format.INT8: torch.int8}
WEIGHTS = {"int8": Format.INT8, "given": Format.AS_GIVEN}
MATRICES = {matrix.name.lower(): matrix for matrix in Matrix}
VECTORS = {vector.name.lower(): vector for vector in Vector}


class NativeWeights(Uncopied):
    """The weights of a model, in the library's memory.

    Args:
        dtype: of the weights and of keys and values, bf16 or fp32.
        threads: that run a segment together.
        isa: instruction set; None is the fastest that this machine has.
        weights: "int8" packs matrices as int8 with a scale per output, whatever `dtype`; "given"
            keeps each in the format that it comes in, so that `dtype` is that of the cache.
    """

    def __init__(
        self,
        config: ModelConfig,
        dtype: torch.dtype,
        threads: int | None = None,
        isa: str | None = None,
        weights: str | None = None,
    ) -> None:
        available = runtimes()
        self.isa = isa or next(iter(available))
        self.runtime: Any = available[self.isa]
        self.runtime_name = f"native, {self.isa}"
        self.config, self.dtype = config, dtype
        self.threads = threads or min(torch.get_num_threads(), cores())
        self.layer_bytes = self.head_bytes = 0  # of matrices: what one pass reads
        self.embedding_bytes = 0  # of a table beside the head
        self._size = 1 if weights == "int8" else dtype.itemsize if weights is None else None
        self._packed = WEIGHTS[weights] if weights else FORMATS[dtype]
        shape = Shape(
            *(config.hidden_size, config.intermediate_size, config.num_layers, config.num_heads),
            *(config.num_kv_heads, config.head_dim),
            *(self._packed, FORMATS[dtype]),
            config.norm_eps,
        )
        self._held = Held.of(self.runtime, "model", byref(shape), self.threads)
        self.handle = self._held.handle
        self._embedding: Tensor | None = None  # of an untied head; the library reads it

    def call(self, function: str, *given: Any) -> None:
        """Call a function of the library.

        Raises:
            DynexitError: it ran out of memory, or refused what it was given.
        """
        check(self.runtime, getattr(self.runtime, function)(*given))

    @property
    def bytes(self) -> int:
        """Memory that the weights hold."""
        table = 0 if self._embedding is None else self._embedding.nbytes
        return int(self.runtime.model_bytes(self.handle)) + table

    def pack(self, name: str, module: torch.nn.Module) -> None:
        """Take over the weights of a module of `Transformer`, by its name there.

        A tied embedding is the head; another one stays as it is.
        """
        *at, which = name.split(".")
        layer = int(at[1]) if at else 0
        if which in VECTORS:
            self._set_vector(layer, VECTORS[which], module)
        elif which != "embedding":
            self._set_matrix(layer, MATRICES[which], module)
        elif self.config.tie_embeddings:
            self._set_matrix(layer, Matrix.HEAD, module)
        else:
            table = module.get_parameter("weight").detach().contiguous()
            self._embedding, self.embedding_bytes = table, table.nbytes
            given = table.data_ptr(), len(table), TENSORS[table.dtype]
            self.call("set_embedding", self.handle, *given)

    def has_format(self, kind: int) -> bool:
        """Whether matrices may stay in blocks of this type."""
        return bool(self.runtime.has_format(kind))

    def pack_blocks(self, name: str, blocks: Sequence[Blocks], bias: Tensor | None = None) -> None:
        """Take over a matrix, by its name in `Transformer`, in blocks.

        Args:
            blocks: parts of its outputs; where these differ in type, all but the last have a
                multiple of 32. A tied embedding is the head.
        """
        *at, which = name.split(".")
        tied = which == "embedding" and self.config.tie_embeddings
        parts = (NativeBlocks * len(blocks))(
            *(NativeBlocks(b.rows.ctypes.data, len(b.rows), b.type, b.mapped) for b in blocks)
        )
        self._count(Matrix.HEAD if tied else MATRICES[which], sum(b.rows.nbytes for b in blocks))
        self.call(
            "set_blocks",
            *(self.handle, int(at[1]) if at else 0, Matrix.HEAD if tied else MATRICES[which]),
            *(parts, len(blocks), blocks[0].inputs),
            None if bias is None else bias.data_ptr(),
        )

    def _count(self, which: Matrix, size: int) -> None:
        if which == Matrix.HEAD:
            self.head_bytes += size
        elif which == Matrix.EMBEDDING:
            self.embedding_bytes += size
        else:
            self.layer_bytes += size

    def _set_matrix(self, layer: int, which: Matrix, module: torch.nn.Module) -> None:
        parameters = {name: p.detach().contiguous() for name, p in module.named_parameters()}
        weight, bias = parameters["weight"], parameters.get("bias")
        bias = None if bias is None else bias.float()
        self._count(which, weight.numel() * (self._size or weight.itemsize))
        self.call(
            "set_matrix",
            *(self.handle, layer, which, weight.data_ptr(), *weight.shape),
            *(TENSORS[weight.dtype], None if bias is None else bias.data_ptr()),
        )

    def _set_vector(self, layer: int, which: Vector, norm: torch.nn.Module) -> None:
        gains = norm.get_parameter("weight").detach().float().contiguous()
        self.call("set_vector", self.handle, layer, which, gains.data_ptr(), len(gains))

    @property
    def multiplied(self) -> torch.dtype:
        """The dtype that products are computed in, which may differ from the weights'."""
        return MULTIPLIED[Format(self.runtime.multiplied(self._packed))]
