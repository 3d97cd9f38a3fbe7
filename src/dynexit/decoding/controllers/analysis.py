"""DEL's statistics of each layer: of all layers in every round, as published, or on a budget.

Numbers in, numbers out. Not responsible for choosing a layer (`del_.py`) or for costs (`costs/`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Round, ShadowTokens

SHARE = 0.03  # of the time of rounds that analysis may take on a budget
LESSON = 4  # rounds between two lessons on a budget: Python runs cold between passes
SPACED = 12  # layers at most, closer together where they are shallow, of which some coincide
SLACK = 0.15  # layers that may promise so little less than the best are analysed
HOPE = 1.0  # positions at which a layer may have matched since it was observed

Floats = NDArray[np.float64]


class Prices(NamedTuple):
    """Seconds that analysis reckons with.

    Attributes:
        rounds: of rounds that draft 0, 1, 2, ... tokens with each layer, [k, d_max + 1].
        begin: of starting any analysis.
        read: of reading a number of rows with the part of the head that analysis uses.
        alone: whether no other text shares passes; shared passes keep the states of all rows.
    """

    rounds: Sequence[Sequence[float]]
    begin: float
    read: Callable[[int], float]
    alone: bool

    def of(self, rows: int) -> float:
        """Seconds of an analysis of `rows` rows."""
        return self.begin + self.read(rows)


class Analysis:
    """Counters of k layers, decayed once per round, never within the prompt.

    Attributes:
        layers: layers whose shadow tokens rounds may return.
        shadow: layers that a plan asks for by default; None is all of them.
    """

    shadow: tuple[int, ...] | None = None

    def __init__(self, layers: tuple[int, ...], omega: float) -> None:
        self.layers, self._omega = layers, omega
        self._counts = np.zeros((2, len(layers)))  # of matched and of mismatched shadow tokens
        self._confidence = np.zeros_like(self._counts)  # sums over the same tokens

    def observe_prompt(self, shadow: ShadowTokens) -> None:
        """Seed the counters."""
        self._count(slice(None), shadow.matched, shadow.confidence)

    def observe(self, finished: Round) -> bool:
        """Decay, then count the round's committed positions. Returns whether anything changed."""
        self._decay()
        if finished.shadow is not None:
            self._count(slice(None), finished.shadow.matched, finished.shadow.confidence)
        return True

    def _decay(self) -> None:
        self._counts *= self._omega
        self._confidence *= self._omega

    def _count(
        self,
        rows: slice | Sequence[int],
        matched: NDArray[np.bool_],
        confidence: NDArray[np.float32],
    ) -> None:
        hits, sure = matched.sum(1), (confidence * matched).sum(1)
        self._counts[:, rows] += hits, matched.shape[1] - hits
        self._confidence[:, rows] += sure, confidence.sum(1) - sure

    def rates(self) -> Floats:
        """Acceptance rate of each layer, [k]; NaN where it has no observation."""
        seen = self._counts.sum(0)
        return np.divide(self._counts[0], seen, out=np.full_like(seen, np.nan), where=seen > 0)

    def threshold(self, row: int) -> float | None:
        """Midpoint of a layer's mean confidences; None while it has seen only one kind."""
        counts = self._counts[:, row]
        if min(counts) <= 0:
            return None
        return float((self._confidence[:, row] / counts).mean())

    def price(self, prices: Prices) -> None:
        """Set the costs to use from now on."""

    def rank(self, best: float, promises: Callable[[Floats], Floats]) -> None:
        """Take the best layer's promise, and the function from rates [k] to promises
        [k, d_max + 1].
        """

    def planned(self, plan: Plan) -> Plan:
        """The plan, with the layers whose shadow tokens the round must return."""
        return plan


class BudgetAnalysis(Analysis):
    """Analyses a few layers in some rounds, so that analysis takes `SHARE` of the time.

    Other rounds show, at no cost, how the drafting layer performs.
    """

    shadow = ()

    def __init__(self, layers: tuple[int, ...], omega: float) -> None:
        super().__init__(layers, omega)
        self._rows = {layer: row for row, layer in enumerate(layers)}
        self._contenders = layers
        self._saved, self._usual = 0.0, 2.0  # seconds for analysis, positions of a round
        self._unread: list[Round] = []

    def price(self, prices: Prices) -> None:
        """See `Analysis`."""
        self._prices = prices

    def threshold(self, row: int) -> float:
        """See `Analysis`; 0 instead of None, so that drafts return their confidences."""
        return super().threshold(row) or 0.0

    def rank(self, best: float, promises: Callable[[Floats], Floats]) -> None:
        """See `Analysis`; keeps only the layers that may be the best."""
        pairs = zip(self.layers, promises(self._hopes()).max(1), strict=True)
        self._contenders = tuple(layer for layer, hope in pairs if hope >= (1 - SLACK) * best)

    def _hopes(self) -> Floats:
        """Optimistic rates, [k]: above `rates` by more the longer a layer was not observed."""
        hits, misses = self._counts
        hopes: Floats = (hits + HOPE) / (hits + misses + HOPE)
        return hopes

    def planned(self, plan: Plan) -> Plan:
        """See `Analysis`."""
        asked = self._asked(plan.exit_layer if plan.speculation_length else 0)
        return replace(plan, shadow=asked) if asked else plan

    def _asked(self, exit_layer: int) -> tuple[int, ...]:
        """Layers to analyse in a round that drafts with `exit_layer`, or does not draft."""
        if not self._counts.any():  # nothing is known
            return self.layers
        asked = self._contenders
        enough = self._saved >= self._prices.of(round(len(asked) * self._usual))
        return asked if self._prices.alone and enough and asked != (exit_layer,) else ()

    def observe(self, finished: Round) -> bool:
        """Note a round; several are learned from together."""
        positions, shadow = finished.accepted + 1, finished.shadow
        row = self._rows[finished.plan.exit_layer] if finished.drafted else 0
        self._saved += SHARE * self._prices.rounds[row][finished.drafted]
        self._usual += 0.1 * (positions - self._usual)
        if shadow is not None:
            self._saved -= self._prices.of(len(shadow.layers) * positions)
        self._unread.append(finished)
        if len(self._unread) < LESSON and self._counts.any():
            return False
        for each in self._unread:
            self._decay()
            self._learn(each)
        self._unread = []
        return True

    def _learn(self, finished: Round) -> None:
        """Count analysed positions, and drafted tokens where nothing was analysed."""
        shadow, layer = finished.shadow, finished.plan.exit_layer
        if shadow is not None:
            rows = [self._rows[each] for each in shadow.layers]
            self._count(rows, shadow.matched, shadow.confidence)
        judged = min(finished.accepted + 1, finished.drafted)
        if judged and (shadow is None or layer not in shadow.layers):
            row, sure = self._rows[layer], list(finished.confidences)  # none if not asked for
            self._counts[0, row] += finished.accepted
            self._counts[1, row] += judged - finished.accepted
            self._confidence[0, row] += sum(sure[: finished.accepted])
            self._confidence[1, row] += sum(sure[finished.accepted : judged])


def spaced(first: int, last: int) -> tuple[int, ...]:
    """Some layers from `first` to `last`, closer together where they are shallow."""
    return tuple(sorted({*np.geomspace(first, last, SPACED).round().astype(int).tolist()}))
