"""A traced text in place of a model: layers cost what a table says and run in no time.

A row on the recorded text gets the recorded predictions. A row past a mismatch is off the text: it
gets the layer's prediction at the same position of the recorded text instead. Such a row is never
accepted; it only decides when drafting stops.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynexit.decoding.costs import Costs
from dynexit.errors import DynexitError
from dynexit.model.drafting_rule import homes
from dynexit.model.interface import Span
from dynexit.model.parts import ByParts
from dynexit.model.readings import Readings
from dynexit.model.skips import Skips
from dynexit.replay.trace import TracedText, TraceInfo

TOO_EARLY = "a position was read before the first one that the trace holds."


@dataclass
class TraceCache:
    """Which positions hold the recorded text's own tokens: all before `on_text`.

    Attributes:
        tree: of the rows of the last tree or chain, where each stands: see `TraceModel`.
    """

    max_positions: int
    length: int = 0
    bytes: int = 0
    on_text: int = 0
    tree: list[int] = field(default_factory=list)

    def move(self, slot: int, position: int) -> None:
        """Move an accepted row home; only rows of the text itself are ever moved."""
        del slot
        self.on_text = position + 1


@dataclass
class TraceModel(ByParts):
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
    runtime_name: str = "replay"
    rows_independent: bool = True
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.int64

    def __post_init__(self) -> None:
        self.vocabulary_size = self.info.vocab_size
        self._unembed = cache(self.costs.unembed)

    @property
    def config(self) -> TraceInfo:
        """What decoding reads of a shape, a trace tells."""
        return self.info

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """Where the layers are not."""
        return (self.device,)

    @property
    def skipping(self) -> None:
        """See `interface.Model`: a trace holds whole layers."""

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
        skips: Skips | None = None,
    ) -> Tensor:
        """See `interface.Model`."""
        assert skips is None, "it is not `skipping`"
        (span,) = rows
        if start == 0:
            hidden = torch.tensor(
                [[place, 0] for place in self._placed(hidden[:, 0].tolist(), span)]
            )
        self.seconds += self._cost(start, stop, span)
        if states is not None:
            self.seconds += self.costs.analysis if stop == self.info.num_layers else 0.0
            states += self._after(hidden[-(keep or span.length) :], start + 1, stop).unbind()
        return self._after(hidden, stop, stop)[0]

    def _cost(self, start: int, stop: int, span: Span) -> float:
        depth = self.info.num_layers
        if start == 0 and stop < depth and (span.length == 1 or span.parents is not None):
            return self._draft_cost(stop, span.stop, span.length)
        self.drafting = False
        around = self.costs.round if stop == depth else 0.0
        return around + self.costs.at(span.stop).layers(stop - start, span.length)

    def _draft_cost(self, layers: int, context: int, rows: int) -> float:
        """Of a level of a draft."""
        begun, self.drafting = self.drafting, True
        costs = self.costs.at(context)
        more = (rows - 1) * costs.draft_beside(layers, 0)
        return costs.draft(layers) + more + (0.0 if begun else costs.draft_start(layers))

    def verify(self, given: list[int] | Tensor, span: Span, start: int, stop: int) -> Readings:
        """See `interface.Model`."""
        places: list[int] = (
            given[:, 0].tolist() if isinstance(given, Tensor) else self._placed(given, span)
        )
        self.seconds += self._cost(start, stop, span) + self._unembed(len(places), None)
        return self._readings(np.array(places), stop - 1, None)

    def _placed(self, tokens: Sequence[int], span: Span) -> list[int]:
        """Places of a span's tokens: where a row is at home, the cache holds it from now on."""
        cache = cast(TraceCache, span.cache)
        parents = range(span.length - 1) if span.parents is None else span.parents
        known = parents[: span.first + span.length - 1]
        home = homes(known)
        del cache.tree[span.first :]
        for row, token in enumerate(tokens, span.first):
            if not row:
                on, position = span.start <= cache.on_text, span.start
            else:
                place = cache.tree[known[row - 1]]
                on, position = place >= 0, _position(place) + 1
            cache.tree.append(self._place(position, token, on))
            if home[row] and position <= cache.on_text:
                cache.on_text = position + (cache.tree[row] >= 0)
        return cache.tree[span.first :]

    def _place(self, position: int, token: int, follows: bool) -> int:
        """Where a token stands: `position`, or where it or what it follows is off the recorded
        text, -1 - that.
        """
        known = follows and position < len(self.text.tokens)
        return position if known and self.text.tokens[position] == token else -1 - position

    def candidates(
        self, hidden: Tensor, count: int, limit: int | None
    ) -> list[list[tuple[int, float]]]:
        """See `interface.Model`. What follows a row off the text is off it, too."""
        self.seconds += self._unembed(len(hidden), limit)
        places, layers = hidden.numpy().T
        tokens, chances = self._recorded(layers - 1, self._recorded_at(places), limit)
        tokens = np.where(places[:, None] < 0, -1, tokens)
        pairs = zip(tokens[:, :count].tolist(), chances[:, :count].tolist(), strict=True)
        return [list(zip(*pair, strict=True)) for pair in pairs]

    @staticmethod
    def _after(rows: Tensor, first: int, last: int) -> Tensor:
        """The same rows after each of some layers."""
        after = rows.repeat(last - first + 1, 1, 1)
        after[:, :, 1] = torch.arange(first, last + 1)[:, None]
        return after

    def read(self, hidden: Tensor, limit: int | None = None) -> Readings:
        """What was recorded of these layers at these positions."""
        self.seconds += self._unembed(len(hidden), limit)
        places, layers = hidden.numpy().T
        return self._readings(places, layers - 1, limit)

    def _readings(self, places: NDArray[np.int64], layers: Any, limit: int | None) -> Readings:
        every, chances = self._recorded(layers, self._recorded_at(places), limit)
        tokens, confidence = every[..., 0], chances[..., 0]
        tokens = np.where(places < 0, -1, tokens)
        return Readings(tokens, np.log(confidence), np.zeros_like(confidence))

    def _recorded_at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of rows, the recorded positions."""
        positions = np.where(places < 0, -1 - places, places) - self.text.first
        if positions.min() < 0:
            raise DynexitError(TOO_EARLY)
        return np.minimum(positions, self.text.best.shape[1] - 1)

    def _recorded(self, layers: Any, positions: Any, limit: int | None) -> tuple[Any, Any]:
        """The best tokens of these rows and their probabilities, [..., BEST]."""
        text, trimmed = self.text, self.info.draft_vocabulary
        if limit is None or limit >= self.info.vocab_size:
            return text.best[layers, positions], text.confidence[layers, positions]
        if limit != trimmed:
            raise DynexitError(
                f"the trace was recorded with --draft-vocabulary {trimmed}, not {limit}: record "
                f"one with --draft-vocabulary {limit}."
            )
        return text.trimmed[layers, positions], text.trimmed_confidence[layers, positions]

    def unembed(self, hidden: Tensor, limit: int | None = None) -> Tensor:
        """Not there: a trace holds readings, so replay is greedy.

        Raises:
            DynexitError: always.
        """
        raise DynexitError("a trace holds no logits: replay is greedy, without penalties.")


def _position(place: int) -> int:
    """Where a row stands, on the text or off it."""
    return -1 - place if place < 0 else place
