"""A checkpoint whose layers run in the native library."""

from collections.abc import Sequence
from ctypes import byref, c_float, c_int32, c_int64
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.drafting import Drafted, DraftingRule
from dynexit.model.interface import Cache, Span
from dynexit.model.native.binding import (
    Format,
    Matrix,
    NativeBlocks,
    NativeSpan,
    Shape,
    Vector,
    runtimes,
)
from dynexit.model.native.workspace import ROWS, Workspace
from dynexit.model.readings import Readings
from dynexit.model.rope import RotaryTable
from dynexit.model.transformer import Transformer
from dynexit.model.weights import weight_map

LIKE = torch.empty(0)
FORMATS = {torch.bfloat16: Format.BF16, torch.float32: Format.FP32}
WEIGHTS = {"int8": Format.INT8, "given": Format.AS_GIVEN}
MATRICES = {matrix.name.lower(): matrix for matrix in Matrix}
VECTORS = {vector.name.lower(): vector for vector in Vector}
NO_MEMORY = "no memory left: shorten the prompt, generate fewer tokens, or use a smaller dtype."


class NativeCache:
    """Keys and values of one sequence, in the library's memory; as `KVCache` otherwise."""

    def __init__(self, model: "NativeTransformer") -> None:
        self._model = model  # outlives this cache
        self.handle = model.runtime.cache_new(model.handle)
        self._workspace = model.spare.pop() if model.spare else model.new_workspace()
        self.length = 0

    def __del__(self) -> None:
        self._model.runtime.cache_free(self.handle)
        self._model.spare.append(self._workspace)

    @property
    def max_positions(self) -> int:
        """Positions that the model's context holds."""
        return self._model.config.max_positions

    @property
    def bytes(self) -> int:
        """Memory held now."""
        return self._model.runtime.cache_bytes(self.handle)

    def workspace(self, rows: int) -> Workspace:
        """What this sequence works in, large enough for so many rows."""
        if rows > self._workspace.rows:
            self._workspace = self._model.new_workspace(2 * rows)
        return self._workspace

    def move(self, slot: int, position: int) -> None:
        """Put the keys and values of a leaf's slot at `position`."""
        self._model.runtime.cache_move(self.handle, slot, position)


class Angles(NamedTuple):
    """Where cosines and sines of positions lie; whoever reads them keeps the tables from going."""

    cos: int
    sin: int
    covered: int
    tables: tuple[Tensor, Tensor]


class Blocks(NamedTuple):
    """Outputs of a matrix as a GGUF file has them: [outputs, bytes of a row], and their type."""

    rows: np.ndarray[tuple[int, int], np.dtype[np.uint8]]
    inputs: int
    type: int


class NativeRows:
    """The spans of a pass as the library reads them, and angles up to their end."""

    def __init__(self, spans: Sequence[Span], model: "NativeTransformer") -> None:
        self._alive = tuple(spans)  # their caches must outlive this pass
        self.angles = model.angles(max(span.stop for span in spans))
        self.spans = (NativeSpan * len(spans))(
            *(
                NativeSpan(
                    *(cast(NativeCache, s.cache).handle, s.start, s.length, len(s.leaves), s.slot),
                    (c_int32 * len(s.leaves))(*s.leaves),
                )
                for s in spans
            )
        )


class NativeTransformer:
    """As `Transformer`, for weights that do not change: packed once, held once.

    Hidden states and logits are fp32 whatever the weights' dtype. A row's results never depend on
    the rows beside it, to the bit, so that verification says what plain decoding would have said.

    Args:
        dtype: of the weights and of keys and values, bf16 or fp32.
        threads: that run a segment together.
        isa: instruction set; None is the fastest that this machine has.
        weights: "int8" packs matrices as int8 with a scale per output, whatever `dtype`; "given"
            keeps each in the format that it comes in, so that `dtype` is that of the cache.
    """

    device = torch.device("cpu")
    devices: Sequence[torch.device] = (device,)
    rows_independent = True
    branching = True

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
        self.kept_layers = config.num_layers  # fewer in a copy for drafts, like tokens of the head
        self.kept_tokens = config.vocab_size
        self.choosable = config.vocab_size  # fewer where the vocabulary is padded
        self._rotary, none = RotaryTable(config.rope, config.head_dim), torch.empty(0)
        self._angles = Angles(0, 0, 0, (none, none))
        self.spare: list[Workspace] = []  # of sequences that have ended
        self.draft_copy: NativeTransformer | None = None  # of the first layers, in int8
        self._embedding: Tensor | None = None  # of an untied head; the library reads it
        self.layer_bytes = self.head_bytes = 0  # of matrices: what one pass reads
        self.embedding_bytes = 0  # of a table beside the head
        self._size = 1 if weights == "int8" else dtype.itemsize if weights is None else None
        shape = Shape(
            *(config.hidden_size, config.intermediate_size, config.num_layers, config.num_heads),
            *(config.num_kv_heads, config.head_dim),
            *(WEIGHTS[weights] if weights else FORMATS[dtype], FORMATS[dtype]),
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
        names = (name.rpartition(".")[0] for name in weight_map(model.config))
        for name in dict.fromkeys(names):
            native.pack(name, model.get_submodule(name))
        native.choosable = model.choosable
        return native

    def copy_for_drafts(self, layers: int, tokens: int) -> "NativeTransformer":
        """The first layers and the first tokens of the head in int8, made once and kept.

        It works on this model's caches and embeddings, and lives no longer.
        """
        copy = self.draft_copy
        if copy is None or copy.kept_layers < layers or copy.kept_tokens < tokens:
            copy = NativeTransformer(self.config, self.dtype, self.threads, self.isa, "int8")
            copy.choosable, copy.kept_layers, copy.kept_tokens = self.choosable, layers, tokens
            for part in range(-1, layers):
                self._check(self.runtime.convert(copy.handle, self.handle, part, tokens))
            self.draft_copy = copy
        return copy

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
            self.runtime.set_embedding(self.handle, table.data_ptr(), FORMATS[table.dtype])

    def has_format(self, kind: int) -> bool:
        """Whether matrices may stay in blocks of this GGUF type."""
        return bool(self.runtime.has_format(kind))

    def pack_blocks(self, name: str, blocks: Sequence[Blocks], bias: Tensor | None = None) -> None:
        """Take over a matrix, by its name in `Transformer`, as blocks that a file holds.

        Args:
            blocks: parts of its outputs; where these differ in type, all but the last have a
                multiple of 32. A tied embedding is the head.
        """
        *at, which = name.split(".")
        tied = which == "embedding" and self.config.tie_embeddings
        parts = (NativeBlocks * len(blocks))(
            *(NativeBlocks(b.rows.ctypes.data, len(b.rows), b.type) for b in blocks)
        )
        self._count(Matrix.HEAD if tied else MATRICES[which], sum(b.rows.nbytes for b in blocks))
        self._check(
            self.runtime.set_blocks(
                *(self.handle, int(at[1]) if at else 0, Matrix.HEAD if tied else MATRICES[which]),
                *(parts, len(blocks), blocks[0].inputs),
                None if bias is None else bias.data_ptr(),
            )
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
        self._check(
            self.runtime.set_matrix(
                *(self.handle, layer, which, weight.data_ptr(), *weight.shape),
                *(FORMATS[weight.dtype], None if bias is None else bias.data_ptr()),
            )
        )

    def _set_vector(self, layer: int, which: Vector, norm: torch.nn.Module) -> None:
        gains = norm.get_parameter("weight").detach().float().contiguous()
        handle = self.handle
        self._check(self.runtime.set_vector(handle, layer, which, gains.data_ptr(), len(gains)))

    @staticmethod
    def _check(failed: int) -> None:
        if failed:
            raise DynexitError(NO_MEMORY)

    def new_cache(self) -> NativeCache:
        """An empty cache for one sequence."""
        return NativeCache(self)

    def new_workspace(self, rows: int = ROWS) -> Workspace:
        """Room for the rows of a sequence's rounds."""
        return Workspace(self.config.hidden_size, rows)

    def embed(self, tokens: Sequence[int] | Tensor) -> Tensor:
        """See `interface.Model`."""
        ids = tokens.tolist() if isinstance(tokens, Tensor) else tokens
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
                *(rows.angles.cos, rows.angles.sin),
                *(None if left is None else left.data_ptr(), kept),
            )
        )
        if states is not None and left is not None:
            states.extend(left.unbind())
        return result

    def draft(
        self, cache: Cache, start: int, token: int, rule: DraftingRule, states: bool
    ) -> Drafted:
        """See `DraftsAlone`. Its states are there until the cache's next draft or verification."""
        held, rows = cast(NativeCache, cache), rule.length + 1
        work, angles = held.workspace(rows + rule.length), self.angles(start + rows)
        left = torch.empty(rows, rule.exit_layer, self.config.hidden_size) if states else None
        work.drafted.states = None if left is None else left.data_ptr()
        drafting = work.drafting(rule)
        drafting.limit = self._limited(rule.limit)
        self._check(
            self.runtime.draft(
                *(self.handle, byref(drafting), held.handle, start, token),
                *(angles.cos, angles.sin, byref(work.drafted)),
            )
        )
        told, leaves = work.told()
        count = len(told[0]) + 1
        kept = None if left is None else left[:count]
        return Drafted(work.states[count + len(leaves)], kept, lambda: told, leaves)

    def verify(self, given: list[int] | Tensor, span: Span, start: int, stop: int) -> Readings:
        """See `VerifiesAlone`."""
        held, rows = cast(NativeCache, span.cache), span.length + len(span.leaves)
        work, angles = held.workspace(rows), self.angles(span.stop)
        tokens, address = None, work.address
        if isinstance(given, Tensor):
            address = given.data_ptr()
        else:
            tokens = work.take(given)
        work.readings.choosable = self._limited(None)
        self._check(
            self.runtime.verify(
                *(self.handle, byref(work.place(span, held.handle)), tokens, address),
                *(start, stop, angles.cos, angles.sin, byref(work.readings)),
            )
        )
        return work.read[rows]

    def angles(self, stop: int) -> Angles:
        """Of the positions up to `stop`.

        Raises:
            DynexitError: there are not so many.
        """
        if stop > (limit := self.config.max_positions):
            raise DynexitError(f"position {stop} is past the context of {limit}.")
        angles = self._angles
        if stop > angles.covered:
            cos, sin = self._rotary.up_to(stop, LIKE)
            angles = self._angles = Angles(cos.data_ptr(), sin.data_ptr(), len(cos), (cos, sin))
        return angles

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
        most = min(self.choosable, self.kept_tokens)
        return most if limit is None else min(limit, most)

    def _unembed(self, hidden: Tensor, count: int, *results: Any) -> None:
        rows = hidden.contiguous()
        given = (self.handle, rows.data_ptr(), rows.shape[0], count)
        self._check(self.runtime.unembed(*given, *results))
