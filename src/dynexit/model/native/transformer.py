"""A checkpoint whose layers run in the native library."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from ctypes import byref, c_float, c_int64, c_uint32
from functools import partial
from itertools import product
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.draft_tokens import DraftTokens
from dynexit.model.drafting import Drafted
from dynexit.model.drafting_rule import DraftingRule
from dynexit.model.interface import Cache, Span
from dynexit.model.native.binding import NativeReading
from dynexit.model.native.cache import NativeCache
from dynexit.model.native.rows import Angles, NativeRows
from dynexit.model.native.text_tokens import NativeTextTokens, handles_of
from dynexit.model.native.weights import NativeWeights
from dynexit.model.native.workspace import ROWS, Workspace
from dynexit.model.parts import ByParts
from dynexit.model.readings import Readings
from dynexit.model.rope import RotaryTable
from dynexit.model.skips import Skips
from dynexit.model.text_tokens import MOST, TextTokens, texts_of
from dynexit.model.transformer import Transformer
from dynexit.model.weights import weight_map

LIKE = torch.empty(0)
STREAMS = 1, 2, 4, 8  # places that a thread reads memory at
AHEAD = 0, 2_048, 8_192  # bytes that it asks for


class NativeTransformer(ByParts, NativeWeights):
    """As `Transformer`, for weights that do not change: packed once, held once.

    Hidden states and logits are fp32 whatever the weights' dtype. A row's results never depend on
    the rows beside it, to the bit, so that verification says what plain decoding would have said.

    Args:
        options: as for `NativeWeights`.
    """

    device = torch.device("cpu")
    devices: Sequence[torch.device] = (device,)
    rows_independent = reads_text = True
    kept_layers = 0
    draft_copy: "NativeTransformer | None" = None

    def __init__(self, config: ModelConfig, dtype: torch.dtype, **options: Any) -> None:
        super().__init__(config, dtype, **options)
        self.kept_layers = config.num_layers  # fewer in a copy for drafts, like tokens of the head
        self.kept_tokens = config.vocab_size
        self.vocabulary_size = config.vocab_size  # fewer where the vocabulary is padded
        self.rotary = RotaryTable(config.rope, config.head_dim)
        self._angles = Angles.of(torch.empty(0), torch.empty(0))
        self.spare: list[Workspace] = []  # of sequences that have ended
        self._original: tuple[Any, ...] = ()  # what a copy reads of its original

    @classmethod
    def packing(cls, model: Transformer, **options: Any) -> "NativeTransformer":
        """A native copy of `model`; options as for the class."""
        native = cls(model.config, model.dtype, **options)
        names = (name.rpartition(".")[0] for name in weight_map(model.config))
        for name in dict.fromkeys(names):
            native.pack(name, model.get_submodule(name))
        native.vocabulary_size = model.vocabulary_size
        return native

    def copy_for_drafts(self, layers: int, tokens: int) -> "NativeTransformer":
        """See `interface.Model`."""
        kept = self.draft_copy
        if kept is not None:
            layers, tokens = max(layers, kept.kept_layers), max(tokens, kept.kept_tokens)
        layers, tokens = min(layers, self.kept_layers), min(tokens, self.kept_tokens)
        if kept is None or (kept.kept_layers, kept.kept_tokens) != (layers, tokens):
            self.draft_copy = kept = self._copied(layers, tokens)
        return kept

    def _copied(self, layers: int, tokens: int) -> "NativeTransformer":
        copy = NativeTransformer(
            self.config, self.dtype, threads=self.threads, isa=self.isa, weights="int8"
        )
        copy.vocabulary_size = self.vocabulary_size
        copy.kept_layers, copy.kept_tokens = layers, tokens
        copy._original = self._held, self._embedding
        copy.rotary, copy.draft_tokens = self.rotary, self.draft_tokens
        for part in range(-1, layers):
            copy.call("convert", copy.handle, self.handle, part, tokens)
        return copy

    def new_cache(self) -> NativeCache:
        """An empty cache for one sequence."""
        return NativeCache(self)

    def workspace(self) -> Workspace:
        """A workspace of a finished sequence, or a new one. Thread-safe."""
        with suppress(IndexError):  # there is none, or another thread was quicker
            return self.spare.pop()
        return self.new_workspace()

    def new_workspace(self, rows: int = ROWS) -> Workspace:
        """Room for the rows of a sequence's rounds."""
        return Workspace(self.config.hidden_size, rows)

    def embed(self, tokens: Sequence[int] | Tensor) -> Tensor:
        """See `interface.Model`."""
        ids = tokens.tolist() if isinstance(tokens, Tensor) else tokens
        hidden = torch.empty(len(ids), self.config.hidden_size)
        self.call("gather", self.handle, (c_int64 * len(ids))(*ids), len(ids), hidden.data_ptr())
        return hidden

    def rows(self, spans: Sequence[Span]) -> NativeRows:
        """The rows of a pass over `spans`, in the order given."""
        return NativeRows(spans, self.angles(max(span.stop for span in spans)))

    def run_layers(
        self,
        hidden: Tensor,
        rows: NativeRows,
        start: int,
        stop: int,
        states: list[Tensor] | None = None,
        keep: int | None = None,
        skips: Skips | None = None,
    ) -> Tensor:
        """See `interface.Model`."""
        self._fits(hidden, rows.count)
        result = hidden.clone(memory_format=torch.contiguous_format)
        if start >= stop:
            return result
        kept = 0 if states is None else min(keep or hidden.shape[0], hidden.shape[0])
        left = torch.empty(stop - start, kept, hidden.shape[1]) if kept else None
        self.call(
            "run",
            *(self.handle, rows.spans, len(rows.spans), result.data_ptr(), start, stop),
            *(byref(rows.angles.at), None if left is None else left.data_ptr(), kept, skips),
        )
        if states is not None and left is not None:
            states.extend(left.unbind())
        return result

    def draft(
        self, cache: Cache, start: int, token: int, rule: DraftingRule, states: bool
    ) -> Drafted:
        """See `interface.Model`. States are there until the cache's next draft or verification."""
        held, rows = cast(NativeCache, cache), rule.nodes + 1
        work = held.workspace(rows)
        angles = self.angles(start + 1 + min(rule.depth, rule.nodes))
        if states and rule.ranks > 1:
            raise DynexitError(
                "a draft that keeps the states of each layer must be a chain, not a tree."
            )
        left = torch.empty(rows, rule.exit_layer, self.config.hidden_size) if states else None
        work.drafted.states = None if left is None else left.data_ptr()
        before = torch.empty(rows, self.config.hidden_size) if rule.skips else None
        work.drafted.before = None if before is None else before.data_ptr()
        drafting = work.drafting(rule)
        drafting.limit = self._limited(rule.limit)
        self.call(
            "draft",
            *(self.handle, byref(drafting), held.handle, start, token),
            *(byref(angles.at), byref(work.drafted)),
        )
        told = work.told()
        count = len(told.tokens) + 1
        hidden = work.states[count] if before is None else before[:count]
        return Drafted(hidden, None if left is None else left[:count], lambda: told)

    def verify(self, given: list[int] | Tensor, span: Span, start: int, stop: int) -> Readings:
        """See `interface.Model`."""
        held, rows = cast(NativeCache, span.cache), span.length
        work, angles = held.workspace(rows), self.angles(span.stop)
        tokens, address = None, work.address
        if isinstance(given, Tensor):
            address = self._fits(given, rows).data_ptr()
        else:
            tokens = work.take(given)
        work.readings.vocabulary_size = self._limited(None)
        self.call(
            "verify",
            *(self.handle, byref(work.place(span, held.handle)), tokens, address),
            *(start, stop, byref(angles.at), byref(work.readings)),
        )
        return work.read[rows]

    def _fits(self, hidden: Tensor, rows: int) -> Tensor:
        """Return `hidden` after checking its shape and dtype."""
        if hidden.shape != (rows, self.config.hidden_size) or hidden.dtype != torch.float32:
            raise DynexitError(
                f"hidden states {tuple(hidden.shape)} in {hidden.dtype} do not fit {rows} rows of "
                f"{self.config.hidden_size} in fp32."
            )
        return hidden

    def angles(self, stop: int) -> Angles:
        """Of the positions up to `stop`.

        Raises:
            DynexitError: there are not so many.
        """
        if stop > (limit := self.config.max_positions):
            raise DynexitError(f"position {stop} is past the model's context of {limit}.")
        angles = self._angles
        if stop > angles.at.positions:
            angles = self._angles = Angles.of(*self.rotary.up_to(stop, LIKE))
        return angles

    def unembed(self, hidden: Tensor, limit: int | None = None) -> Tensor:
        """See `interface.Model`."""
        count = self._limited(limit)
        logits = torch.empty(hidden.shape[0], count)
        self._unembed(hidden, limit, logits.data_ptr(), None, None, None)
        read = None if limit is None else count
        return self.draft_tokens.spread(logits, read, self.vocabulary_size)

    def read(self, hidden: Tensor, limit: int | None = None) -> Readings:
        """What the logits of `hidden` [N, D] say, without writing them."""
        rows = hidden.shape[0]
        best, top, log_sum = (c_int64 * rows)(), (c_float * rows)(), (c_float * rows)()
        self._unembed(hidden, limit, None, best, top, log_sum)
        return Readings(np.asarray(best), np.asarray(top), np.asarray(log_sum))

    def readers(self, memory: Tensor) -> list[Callable[[], object]]:
        """See `interface.Configured`."""
        return [partial(self.read_memory, memory, *one) for one in product(STREAMS, AHEAD)]

    def read_memory(self, memory: Tensor, streams: int = 1, ahead: int = 0) -> int:
        """Read a contiguous tensor with this model's threads, each at so many places at once and
        asking for what lies so many bytes ahead. All whole units of 256 bytes are read.

        Returns:
            Their words of 32 bits, combined by exclusive or.
        """
        mixed = c_uint32()
        how = NativeReading(memory.data_ptr(), memory.nbytes, ahead, streams)
        self.call("read", self.handle, byref(how), byref(mixed))
        return mixed.value

    def _limited(self, limit: int | None) -> int:
        most = min(self.vocabulary_size, self.kept_tokens)
        return most if limit is None else min(limit, most)

    def _unembed(self, hidden: Tensor, limit: int | None, *results: Any) -> None:
        rows, count = self._fits(hidden, hidden.shape[0]).contiguous(), self._limited(limit)
        given = rows.shape[0], count, limit is not None, None, count
        self.call("unembed", self.handle, rows.data_ptr(), *given, *results)

    def new_text_tokens(self, limit: int) -> TextTokens:
        """See `interface.Model`."""
        usual = self.draft_tokens.holding(limit)
        return NativeTextTokens(self, usual, min(MOST, self.vocabulary_size))

    def read_with(
        self, hidden: Tensor, limit: int, own: Sequence[TextTokens], best_only: bool
    ) -> Tensor | Readings:
        """See `interface.Model`."""
        rows, count, n = hidden.contiguous(), self._limited(limit), len(own)
        width = count + max(len(one.tokens) for one in own)
        given = self._fits(rows, n).data_ptr(), n, count, True, handles_of(own), width
        if best_only:
            best, top, log_sum = (c_int64 * n)(), (c_float * n)(), (c_float * n)()
            self.call("unembed", self.handle, *given, None, best, top, log_sum)
            return Readings(np.asarray(best), np.asarray(top), np.asarray(log_sum))
        read = torch.empty(n, width)
        self.call("unembed", self.handle, *given, read.data_ptr(), None, None, None)
        logits = self.draft_tokens.spread(read[:, :count], count, self.vocabulary_size)
        for place, one in texts_of(own):
            logits[place, one.tokens] = read[place, count : count + len(one.tokens)]
        return logits

    def draft_by(self, chosen: DraftTokens) -> None:
        """See `interface.Model`."""
        tokens = chosen.tokens.tolist()
        self.call("set_draft_tokens", self.handle, (c_int64 * len(tokens))(*tokens), len(tokens))
        self.draft_tokens = chosen
