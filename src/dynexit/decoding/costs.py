"""Seconds of the parts of a round, as a small table.

Not responsible for measuring (`measuring.py`), nor for what a round really took (controllers).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynexit.errors import DynexitError
from dynexit.plain import build

MOST_ROWS = 66


@dataclass(frozen=True)
class Costs:
    """Seconds of the parts of a round, by the number of rows computed at once.

    Attributes:
        widths: numbers of rows that were measured, ascending from 1; between them costs are read
            off straight lines, past the last one they grow as between the last two.
        layer: of one decoder layer, per width.
        head: of final norm and the whole head, per width.
        head_call: of unembedding no tokens at all, per width: between this and the whole head,
            costs grow with the tokens read.
        draft_layer: of one layer in the pass of one more drafted token, whose few layers may have
            stayed in a cache; and for each layer of that pass,
        draft_depth: so much more, since fewer of them have: up to what a layer costs otherwise.
        draft_row: of one layer in that pass, for one more row: a cached layer is not waited for.
        draft_call: of beginning a draft, however long.
        position: of one more position in the cache, per layer and pass, per width: attention of
            further rows is arithmetic, and costs most of the first row's again where that is short.
        round: of everything around the passes of a round.
        analysis: of bringing shadow tokens, beside unembedding their states.
        vocabulary: tokens of the whole head.
        copied_layer: of one layer of the copy for drafts; 0 without a copy.
        copied_head: of that copy's head.
    """

    widths: tuple[int, ...]
    layer: tuple[float, ...]
    head: tuple[float, ...]
    head_call: tuple[float, ...]
    draft_layer: float
    position: tuple[float, ...]
    round: float
    vocabulary: int
    context: int = 0  # positions in the cache when this was measured
    copied_layer: float = 0.0
    copied_head: float = 0.0
    draft_call: float = 0.0
    draft_depth: float = 0.0
    analysis: float = 0.0
    draft_row: float = 0.0
    _verifications: dict[int, list[float]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _shared: dict[int, "Costs"] = field(default_factory=dict, init=False, repr=False, compare=False)
    _far: dict[int, "Costs"] = field(default_factory=dict, init=False, repr=False, compare=False)

    def shared(self, batch_size: int) -> "Costs":
        """Costs of a round that so many sequences make at the same time, in passes that they share.

        A row then stands for one of each. What is around passes is paid once per sequence, and for
        every token that is drafted too: a draft in a batch is not one call.
        """
        if batch_size not in self._shared:
            self._shared[batch_size] = self if batch_size == 1 else self._times(batch_size)
        return self._shared[batch_size]

    def _times(self, batch_size: int) -> "Costs":
        around = batch_size * self.round

        def wide(values: tuple[float, ...], more: float = 0.0) -> tuple[float, ...]:
            return tuple(self._at(values, batch_size * width) + more for width in self.widths)

        layer = wide(self.layer)
        return replace(
            self,
            layer=layer,
            head=wide(self.head, around),
            head_call=wide(self.head_call, around),
            draft_layer=layer[0],
            draft_depth=0.0,
            draft_call=0.0,
            position=tuple(batch_size * seconds for seconds in self.position),
            round=0.0,
            analysis=batch_size * self.analysis,
            copied_layer=self.copied_layer * layer[0] / self.layer[0],
            copied_head=self.copied_head * self._at(self.head, batch_size) / self.head[0] + around,
        )

    def at(self, context: int) -> "Costs":
        """Costs of passes with about so many positions in the cache: all within a sixteenth share
        a table. Contexts shorter than the one that was measured have its costs.
        """
        if context <= self.context:
            return self
        step = 1 << max(context.bit_length() - 4, 0)
        near = (context + step // 2) // step * step
        if near not in self._far:
            self._far[near] = self._moved(near)
        return self._far[near]

    def _moved(self, context: int) -> "Costs":
        distance = max(context - self.context, 0)
        more = [distance * seconds for seconds in self.position]
        return replace(
            self,
            layer=tuple(near + far for near, far in zip(self.layer, more, strict=True)),
            draft_layer=self.draft_layer + more[0],
            draft_row=self.draft_row + distance * (self._at(self.position, 2) - self.position[0]),
            copied_layer=self.copied_layer + more[0] if self.copied_layer else 0.0,
            context=self.context + distance,
        )

    def verify(self, count: int) -> list[float]:
        """Seconds of verifying 1, 2, ... `MOST_ROWS` rows by the last `count` layers.

        All that is around passes is counted in; the first number is not used.
        """
        if count not in self._verifications:
            layer, head = self._by_rows
            self._verifications[count] = (self.round + count * layer + head).tolist()
        return self._verifications[count]

    @cached_property
    def _by_rows(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A layer and the head for 0, 1, 2, ... `MOST_ROWS` rows."""
        rows = np.arange(MOST_ROWS + 1.0)
        past = np.maximum(rows - self.widths[-1], 0.0)
        layer, head = (
            np.interp(rows, self.widths, each) + past * self._slope(each)
            for each in (self.layer, self.head)
        )
        return layer, head

    def layers(self, count: int, rows: float) -> float:
        """So many layers for `rows` rows."""
        return count * self._at(self.layer, rows)

    def draft(self, count: int) -> float:
        """The first layers for one drafted token."""
        return count * self._draft_layer(count)

    def draft_start(self, count: int) -> float:
        """What a draft by the first layers costs beyond its passes: its first one is slower."""
        return self.draft_call + count * max(self.layer[0] - self._draft_layer(count), 0.0)

    def draft_beside(self, count: int, limit: int | None) -> float:
        """One more row in a pass of a draft by the first layers, and in its reading of so many
        tokens of the head.
        """
        row = max(self.draft_row, self.layers(1, 2) - self.layers(1, 1))
        head = self.unembed(2, limit) - self.unembed(1, limit)
        return count * row + max(head, 0.0)

    def _draft_layer(self, count: int) -> float:
        most = max(self.layer[0], self.draft_layer)
        return min(max(self.draft_layer + count * self.draft_depth, 0.0), most)

    def unembed(self, rows: float, limit: int | None = None) -> float:
        """The head, or its first `limit` tokens."""
        whole, call = self._at(self.head, rows), self._at(self.head_call, rows)
        share = 1.0 if limit is None else min(limit / self.vocabulary, 1.0)
        return call + (whole - call) * share

    def _at(self, values: tuple[float, ...], rows: float) -> float:
        past = max(rows - self.widths[-1], 0.0)
        return float(np.interp(rows, self.widths, values)) + past * self._slope(values)

    def _slope(self, values: tuple[float, ...]) -> float:
        """Of one more row past the last width."""
        if len(self.widths) == 1:
            return 0.0
        return (values[-1] - values[-2]) / (self.widths[-1] - self.widths[-2])

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Costs":
        """The inverse of `as_dict`.

        Raises:
            DynexitError: values that are no costs.
        """
        made = build(cls, values, "it")
        made._check()
        return made

    def _check(self) -> None:
        """Raises DynexitError for numbers that cannot have been measured."""
        lists = (self.layer, self.head, self.head_call, self.position)
        if not self.widths or self.widths[0] != 1 or list(self.widths) != sorted({*self.widths}):
            raise DynexitError("its widths must rise from 1.")
        if any(len(seconds) != len(self.widths) for seconds in lists):
            raise DynexitError("it must have as many costs as widths.")
        signed = ("draft_layer",)  # a straight line's height at no layers
        single = [value for name, value in self.as_dict().items() if name not in signed]
        flat = [value for value in single if not isinstance(value, tuple)]
        every = [*flat, *(value for seconds in lists for value in seconds)]
        if not 0 <= min(every) <= max(every) < 2**31:
            raise DynexitError("it has a number out of range.")
        if 0 in (self.layer[0], self.head[0], self.vocabulary):
            raise DynexitError("its layer cost, head cost and vocabulary must be above 0.")


def rising(prices: Iterable[float]) -> list[float]:
    """The nearest numbers to these that never fall (isotonic regression): a row that was measured
    to be cheaper than one before it takes the mean of both.
    """
    pools: list[tuple[float, int]] = []  # mean, and of how many
    for price in prices:
        pools.append((price, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (one, n), (other, m) = pools[-2:]
            pools[-2:] = [((one * n + other * m) / (n + m), n + m)]
    return [mean for mean, count in pools for _ in range(count)]


def rough_costs(head: float, vocabulary: int) -> Costs:
    """Where nothing has been measured: in layers, by a head that is as large as so many of them.

    What rounds take corrects the unit, not the proportions.
    """
    layer, call = (1.0, 1.04), 0.1 * head
    sizes = (1, 2), layer, (head, 1.04 * head), (call, call), 0.9, (0.0, 0.0), 1.0, vocabulary
    return Costs(*sizes, analysis=1.0)


ROUGH = rough_costs(2.0, 2**16)
