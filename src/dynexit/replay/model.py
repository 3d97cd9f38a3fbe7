"""A traced text in the place of a model: layers that cost what a table says and take no time.

A row on the recorded text is answered with what was recorded. A row past a mismatch is off the
text: there the layer's reading at the same position of the recorded text stands in for what nobody
has seen. Such a row is never accepted; it only decides when drafting stops.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from dynexit.costs.table import Costs
from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.interface import Span
from dynexit.model.readings import Readings
from dynexit.replay.trace import TracedText, TraceInfo


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
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.int64

    def __post_init__(self) -> None:
        info = self.info
        shape = TraceShape(info.num_layers, info.max_positions, info.vocab_size)
        self.config = cast(ModelConfig, shape)
        self.choosable = info.vocab_size

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
            hidden = self._placed(hidden, span)
        self.seconds += self._cost(start, stop, span)
        hidden = hidden.clone()
        if states is not None:
            for layer in range(start + 1, stop + 1):
                hidden[:, 1] = layer
                states.append(hidden[-(keep or span.length) :].clone())
        hidden[:, 1] = stop
        return hidden

    def _cost(self, start: int, stop: int, span: Span) -> float:
        depth = self.info.num_layers
        if start == 0 and stop < depth and span.length == 1:
            begun, self.drafting = self.drafting, True
            return self.costs.draft(stop, span.stop) + (
                0 if begun else self.costs.draft_start(stop)
            )
        self.drafting = False
        around = self.costs.round if stop == depth else 0.0
        return around + self.costs.layers(stop - start, span.length, span.stop)

    def _placed(self, hidden: Tensor, span: Span) -> Tensor:
        """Positions for tokens; -1 - position where a row is off the recorded text."""
        cache = cast(TraceCache, span.cache)
        given = hidden[:, 0].numpy()
        written = self.text.tokens[span.start : span.stop]
        same = int(np.argmin(np.append(given[: len(written)] == written, False)))
        if span.start <= cache.on_text:
            cache.on_text = span.start + same
        positions = np.arange(span.start, span.stop)
        placed = np.where(positions < cache.on_text, positions, -1 - positions)
        return torch.from_numpy(np.stack((placed, hidden[:, 1].numpy()), 1))

    def read(self, hidden: Tensor, limit: int | None = None) -> Readings:
        """What was recorded of these layers at these positions."""
        self.seconds += self.costs.unembed(len(hidden), limit)
        places, layers = hidden.numpy().T
        positions = np.where(places < 0, -1 - places, places) - self.text.first
        if positions.min() < 0:
            raise DynexitError("a position was read before the first one that the trace holds.")
        positions = np.minimum(positions, self.text.best.shape[1] - 1)
        tokens, confidence = self._recorded(layers - 1, positions, limit)
        tokens = np.where(places < 0, -1, tokens)
        return Readings(tokens, np.log(confidence), np.zeros_like(confidence))

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
