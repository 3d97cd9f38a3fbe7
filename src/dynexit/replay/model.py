"""A traced text in the place of a model: layers that cost what a table says and take no time.

A row on the recorded text is answered with what was recorded. A row past a mismatch is off the
text: there the layer's reading at the same position of the recorded text stands in for what nobody
has seen. Such a row is never accepted; it only decides when drafting stops.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynexit.costs.table import Costs
from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.drafting import Drafted
from dynexit.model.drafting_rule import DraftingRule, Leaf, part_of
from dynexit.model.interface import Span
from dynexit.model.readings import Readings
from dynexit.replay.trace import TracedText, TraceInfo

TOO_EARLY = "a position was read before the first one that the trace holds."


class TraceShape(NamedTuple):
    """Of a `ModelConfig`, what decoding looks at."""

    num_layers: int
    max_positions: int
    vocab_size: int


@dataclass
class TraceCache:
    """Which positions hold the recorded text's own tokens: all before `on_text`."""

    max_positions: int
    length: int = 0
    bytes: int = 0
    on_text: int = 0

    def move(self, slot: int, position: int) -> None:
        """A leaf takes the place of a token: it was the text's own, else nobody would move it."""
        del slot
        self.on_text = position + 1


@dataclass
class TraceModel:
    """`interface.Model` over one traced text. A hidden state [2] is (token or position, layer).

    Attributes:
        seconds: what the passes so far have cost.
        drafting: whether the last one was a drafted token's.
    """

    info: TraceInfo
    text: TracedText
    costs: Costs
    seconds: float = 0.0
    drafting: bool = False
    config: ModelConfig = field(init=False)
    runtime_name: str = "replay"
    rows_independent: bool = True
    branching: bool = True
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.int64

    def __post_init__(self) -> None:
        info = self.info
        shape = TraceShape(info.num_layers, info.max_positions, info.vocab_size)
        self.config = cast(ModelConfig, shape)
        self.choosable = info.vocab_size
        self._unembed = cache(self.costs.unembed)

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """Where the layers are not."""
        return (self.device,)

    def clock(self) -> float:
        """Seconds since the text began, as costs have it."""
        return self.seconds

    def new_cache(self) -> TraceCache:
        """An empty cache."""
        return TraceCache(self.info.max_positions)

    def rows(self, spans: Sequence[Span]) -> Sequence[Span]:
        """The rows of a pass; one span is all that replay needs."""
        return spans

    def embed(self, tokens: Sequence[int] | Tensor) -> Tensor:
        """Tokens, before any layer."""
        ids = torch.as_tensor(tokens)
        return torch.stack((ids, torch.zeros_like(ids)), 1)

    def run_layers(
        self,
        hidden: Tensor,
        rows: Any,
        start: int,
        stop: int,
        states: list[Tensor] | None = None,
        keep: int | None = None,
    ) -> Tensor:
        """See `interface.Model`."""
        (span,) = rows
        if start == 0:
            hidden = torch.tensor(
                [[place, 0] for place in self._placed(hidden[:, 0].tolist(), span)]
            )
        self.seconds += self._cost(start, stop, span)
        if states is not None:
            states += self._after(hidden[-(keep or span.length) :], start + 1, stop).unbind()
        return self._after(hidden, stop, stop)[0]

    def _cost(self, start: int, stop: int, span: Span) -> float:
        depth = self.info.num_layers
        if start == 0 and stop < depth and span.length == 1:
            begun, self.drafting = self.drafting, True
            return self.costs.draft(stop, span.stop) + (
                0 if begun else self.costs.draft_start(stop)
            )
        self.drafting = False
        around = self.costs.round if stop == depth else 0.0
        rows = span.length + len(span.leaves)
        return around + self.costs.layers(stop - start, rows, span.stop)

    def verify(self, given: list[int] | Tensor, span: Span, start: int, stop: int) -> Readings:
        """See `VerifiesAlone`."""
        places: list[int] = (
            given[:, 0].tolist() if isinstance(given, Tensor) else self._placed(given, span)
        )
        self.seconds += self._cost(start, stop, span) + self._unembed(len(places), None)
        return self._readings(np.array(places), stop - 1, None)

    def _placed(self, tokens: Sequence[int], span: Span) -> list[int]:
        """Places of a span's tokens, leaves last."""
        cache = cast(TraceCache, span.cache)
        along = enumerate(tokens[: span.length], span.start)
        places = [self._write(cache, position, token) for position, token in along]
        beside = zip(span.leaves, tokens[span.length :], strict=True)
        return places + [self._place(cache, span.start + place, token) for place, token in beside]

    def _write(self, cache: TraceCache, position: int, token: int) -> int:
        """Put a token into the cache; returns its place."""
        place = self._place(cache, position, token)
        if position <= cache.on_text:
            cache.on_text = position + (place >= 0)
        return place

    def _place(self, cache: TraceCache, position: int, token: int) -> int:
        """Where one token stands: `position`, or where it is off the recorded text, -1 - that."""
        known = position < len(self.text.tokens) and position <= cache.on_text
        return position if known and self.text.tokens[position] == token else -1 - position

    def draft(
        self, cache: TraceCache, start: int, token: int, rule: DraftingRule, states: bool
    ) -> Drafted:
        """See `DraftsAlone`."""
        tokens: list[int] = []
        confidences: list[float] = []
        leaves: list[Leaf] = []
        places: list[int] = []
        beside: list[int] = []
        layer, chance = rule.exit_layer, 1.0
        while not (last := rule.ends_after(tokens, confidences)) or rule.finish:
            position = start + len(tokens)
            fresh = bool(leaves) and leaves[-1].place == len(tokens) - 1
            self.seconds += self._cost(0, layer, Span(cache, position, 1))
            if fresh and rule.finish:
                self.seconds += layer * (self.costs.layers(1, 2) - self.costs.layers(1, 1))
                beside.append(self._place(cache, position, leaves[-1].token))
            places.append(self._write(cache, position, token))
            if last:
                break
            token, confidence, second = self._chosen(places[-1], layer, rule.limit)
            part = part_of(confidence, len(rule.odds) or 1)
            if rule.leaf_odds and not states and chance * rule.leaf_odds[part] >= rule.leaf_floor:
                leaves.append(Leaf(len(tokens), second))
            chance *= rule.odds[part] if rule.odds else 1.0
            tokens.append(token)
            confidences.append(confidence)
        places += [0] * (len(tokens) + 1 - len(places)) + beside
        hidden = torch.tensor([[place, layer] for place in places])
        rows = hidden[: len(tokens) + 1]
        left = self._after(rows, 1, layer).transpose(0, 1) if states else None
        return Drafted(hidden, left, lambda: (tokens, confidences), leaves)

    @staticmethod
    def _after(rows: Tensor, first: int, last: int) -> Tensor:
        """The same rows after each of some layers."""
        after = rows.repeat(last - first + 1, 1, 1)
        after[:, :, 1] = torch.arange(first, last + 1)[:, None]
        return after

    def _chosen(self, place: int, layer: int, limit: int | None) -> tuple[int, float, int]:
        """A layer's best token at one row, its confidence, and the second best.

        Of a trimmed head only the best is recorded: where the whole head's second is not known to
        be its second, there is none.
        """
        self.seconds += self._unembed(1, limit)
        position = (-1 - place if place < 0 else place) - self.text.first
        if position < 0:
            raise DynexitError(TOO_EARLY)
        position = min(position, self.text.best.shape[1] - 1)
        token, confidence = self._recorded(layer - 1, position, limit)
        best, second = self.text.best[layer - 1, position].tolist()
        token = -1 if place < 0 else int(token)
        return token, float(confidence), second if best == token else -1

    def read(self, hidden: Tensor, limit: int | None = None) -> Readings:
        """What was recorded of these layers at these positions."""
        self.seconds += self._unembed(len(hidden), limit)
        places, layers = hidden.numpy().T
        return self._readings(places, layers - 1, limit)

    def _readings(self, places: NDArray[np.int64], layers: Any, limit: int | None) -> Readings:
        tokens, confidence = self._recorded(layers, self._recorded_at(places), limit)
        tokens = np.where(places < 0, -1, tokens)
        return Readings(tokens, np.log(confidence), np.zeros_like(confidence))

    def _recorded_at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of rows, the recorded positions."""
        positions = np.where(places < 0, -1 - places, places) - self.text.first
        if positions.min() < 0:
            raise DynexitError(TOO_EARLY)
        return np.minimum(positions, self.text.best.shape[1] - 1)

    def _recorded(self, layers: Any, positions: Any, limit: int | None) -> tuple[Any, Any]:
        text, trimmed = self.text, self.info.draft_vocabulary
        if limit is None or limit >= self.info.vocab_size:
            return text.best[layers, positions, 0], text.confidence[layers, positions, 0]
        if limit != trimmed:
            raise DynexitError(
                f"the trace holds exits that read the first {trimmed} tokens, not {limit}: record "
                f"one with --draft-vocabulary {limit}."
            )
        return text.trimmed[layers, positions], text.trimmed_confidence[layers, positions]

    def unembed(self, hidden: Tensor, limit: int | None = None) -> Tensor:
        """Not there: a trace holds readings, so replay is greedy.

        Raises:
            DynexitError: always.
        """
        raise DynexitError("a trace holds no logits: replay is greedy, without penalties.")
