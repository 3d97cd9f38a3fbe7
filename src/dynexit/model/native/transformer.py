"""A checkpoint whose layers run in the native library."""

from collections.abc import Sequence
from ctypes import byref, c_float, c_int64
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.interface import Span
from dynexit.model.native.binding import Format, Matrix, NativeSpan, Shape, Vector, runtimes
from dynexit.model.readings import Readings
from dynexit.model.rope import RotaryTable
from dynexit.model.transformer import DecoderLayer, RMSNorm, Transformer

LIKE = torch.empty(0)
FORMATS = {torch.bfloat16: Format.BF16, torch.float32: Format.FP32}
NO_MEMORY = "no memory left: shorten the prompt, generate fewer tokens, or use a smaller dtype."


class NativeCache:
    """Keys and values of one sequence, in the library's memory; as `KVCache` otherwise."""

    def __init__(self, model: "NativeTransformer") -> None:
        self._model = model  # outlives this cache
        self.handle = model.runtime.cache_new(model.handle)
        self.length = 0

    def __del__(self) -> None:
        self._model.runtime.cache_free(self.handle)

    @property
    def max_positions(self) -> int:
        """Positions that the model's context holds."""
        return self._model.config.max_positions

    @property
    def bytes(self) -> int:
        """Memory held now."""
        return self._model.runtime.cache_bytes(self.handle)


class NativeRows:
    """The spans of a pass as the library reads them, and the table of angles up to their end."""

    def __init__(self, spans: Sequence[Span], model: "NativeTransformer") -> None:
        end, limit = max(span.stop for span in spans), model.config.max_positions
        if end > limit:
            raise DynexitError(f"position {end} is past the context of {limit}.")
        self._alive = tuple(spans)  # their caches must outlive this pass
        self.spans = (NativeSpan * len(spans))(
            *(NativeSpan(cast(NativeCache, s.cache).handle, s.start, s.length) for s in spans)
        )
        self.cos, self.sin = model.rotary.up_to(end, LIKE)


class NativeTransformer:
    """As `Transformer`, for weights that do not change: packed once, held once.

    Hidden states and logits are fp32 whatever the weights' dtype. A row's results never depend on
    the rows beside it, to the bit, so that verification says what plain decoding would have said.

    Args:
        dtype: of the weights and of keys and values, bf16 or fp32.
        threads: that run a segment together.
        isa: instruction set; None is the fastest that this machine has.
        weights: "int8" packs matrices as int8 with a scale per output, whatever `dtype`.
    """

    device = torch.device("cpu")
    rows_independent = True

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
        self.threads = threads or torch.get_num_threads()
        self.choosable = config.vocab_size  # fewer where the vocabulary is padded
        self.rotary = RotaryTable(config.rope, config.head_dim)
        self._embedding: Tensor | None = None  # of an untied head
        shape = Shape(
            *(config.hidden_size, config.intermediate_size, config.num_layers, config.num_heads),
            *(config.num_kv_heads, config.head_dim),
            *(Format.INT8 if weights == "int8" else FORMATS[dtype], FORMATS[dtype]),
            config.norm_eps,
        )
        self.handle = self.runtime.model_new(byref(shape), self.threads)

    def __del__(self) -> None:
        if handle := getattr(self, "handle", None):
            self.runtime.model_free(handle)

    @classmethod
    def packing(cls, model: Transformer, **options: Any) -> "NativeTransformer":
        """A native copy of `model`; options as for the class."""
        native = cls(model.config, model.dtype, **options)
        native.pack_ends(model)
        for index in range(model.config.num_layers):
            native.pack_layer(index, model.layer(index))
        native.choosable = model.choosable
        return native

    @property
    def bytes(self) -> int:
        """Memory that the weights hold."""
        table = 0 if self._embedding is None else self._embedding.nbytes
        return int(self.runtime.model_bytes(self.handle)) + table

    def pack_ends(self, model: Transformer) -> None:
        """Take over embedding, final norm and head. A tied head serves as the embedding, too."""
        if not self.config.tie_embeddings:
            self._embedding = model.embedding.weight.detach()
        self._set_matrix(0, Matrix.HEAD, model.head)
        self._set_vector(0, Vector.FINAL_NORM, model.final_norm)

    def pack_layer(self, index: int, layer: DecoderLayer) -> None:
        """Take over a decoder layer's weights."""
        self._set_matrix(index, Matrix.QKV, layer.qkv)
        self._set_matrix(index, Matrix.OUT, layer.out)
        self._set_matrix(index, Matrix.GATE_UP, layer.gate_up)
        self._set_matrix(index, Matrix.DOWN, layer.down)
        self._set_vector(index, Vector.ATTENTION_NORM, layer.attention_norm)
        self._set_vector(index, Vector.MLP_NORM, layer.mlp_norm)
        self._set_vector(index, Vector.QUERY_NORM, layer.query_norm)
        self._set_vector(index, Vector.KEY_NORM, layer.key_norm)

    def _set_matrix(self, layer: int, which: Matrix, linear: torch.nn.Linear) -> None:
        weight = linear.weight.detach().contiguous()
        bias = None if linear.bias is None else linear.bias.detach().float().contiguous()
        self._check(
            self.runtime.set_matrix(
                *(self.handle, layer, which, weight.data_ptr(), *weight.shape),
                *(FORMATS[weight.dtype], None if bias is None else bias.data_ptr()),
            )
        )

    def _set_vector(self, layer: int, which: Vector, norm: RMSNorm | None) -> None:
        if norm is not None:
            gains = norm.weight.detach().float().contiguous()
            handle = self.handle
            self._check(self.runtime.set_vector(handle, layer, which, gains.data_ptr(), len(gains)))

    @staticmethod
    def _check(failed: int) -> None:
        if failed:
            raise DynexitError(NO_MEMORY)

    def new_cache(self) -> NativeCache:
        """An empty cache for one sequence."""
        return NativeCache(self)

    def embed(self, tokens: Sequence[int] | Tensor) -> Tensor:
        """See `interface.Model`."""
        ids = tokens.tolist() if isinstance(tokens, Tensor) else tokens
        if self._embedding is not None:
            return self._embedding[ids].float()
        hidden = torch.empty(len(ids), self.config.hidden_size)
        self.runtime.gather(self.handle, (c_int64 * len(ids))(*ids), len(ids), hidden.data_ptr())
        return hidden

    def rows(self, spans: Sequence[Span]) -> "NativeRows":
        """The rows of a pass over `spans`, in the order given."""
        return NativeRows(spans, self)

    def run_layers(
        self,
        hidden: Tensor,
        rows: "NativeRows",
        start: int,
        stop: int,
        states: list[Tensor] | None = None,
        keep: int | None = None,
    ) -> Tensor:
        """See `interface.Model`."""
        result = hidden.clone(memory_format=torch.contiguous_format)
        if start >= stop:
            return result
        kept = 0 if states is None else min(keep or hidden.shape[0], hidden.shape[0])
        left = torch.empty(stop - start, kept, hidden.shape[1]) if kept else None
        self._check(
            self.runtime.run(
                *(self.handle, rows.spans, len(rows.spans), result.data_ptr(), start, stop),
                *(rows.cos.data_ptr(), rows.sin.data_ptr()),
                *(None if left is None else left.data_ptr(), kept),
            )
        )
        if states is not None and left is not None:
            states.extend(left.unbind())
        return result

    def unembed(self, hidden: Tensor, limit: int | None = None) -> Tensor:
        """See `interface.Model`."""
        count = self._limited(limit)
        logits = torch.empty(hidden.shape[0], count)
        self._unembed(hidden, count, logits.data_ptr(), None, None, None)
        return F.pad(logits, (0, self.choosable - count), value=-torch.inf)

    def read(self, hidden: Tensor, limit: int | None = None) -> Readings:
        """What the logits of `hidden` [N, D] say, without writing them."""
        rows = hidden.shape[0]
        best, top, log_sum = (c_int64 * rows)(), (c_float * rows)(), (c_float * rows)()
        self._unembed(hidden, self._limited(limit), None, best, top, log_sum)
        return Readings(np.asarray(best), np.asarray(top), np.asarray(log_sum))

    def read_memory(self, memory: Tensor) -> float:
        """Read all of a contiguous tensor with this model's threads, as fast as they can."""
        return float(self.runtime.stream(self.handle, memory.data_ptr(), memory.nbytes))

    def _limited(self, limit: int | None) -> int:
        return self.choosable if limit is None else min(limit, self.choosable)

    def _unembed(self, hidden: Tensor, count: int, *results: Any) -> None:
        rows = hidden.contiguous()
        given = (self.handle, rows.data_ptr(), rows.shape[0], count)
        self._check(self.runtime.unembed(*given, *results))
