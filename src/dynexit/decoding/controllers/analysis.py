"""What DEL knows of each layer: of all of them in every round, as published, or on a budget.

Numbers in, numbers out. Not responsible for what follows from them (`del_.py`), nor for what
anything costs (`costs/`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynexit.decoding.records import Plan, Round, ShadowTokens

SHARE = 0.03  # of the time of rounds that analysis may take on a budget
LESSON = 4  # rounds between two lessons on a budget: Python runs cold between passes
SPACED = 12  # layers at most, closer together where they are shallow, of which some coincide
SLACK = 0.15  # layers that may promise so little less than the best are analysed
HOPE = 1.0  # positions at which a layer may have matched since it was observed

Floats = NDArray[np.float64]


class Prices(NamedTuple):
    """Seconds, as far as analysis knows them.

    Attributes:
        rounds: that draft 0, 1, 2, ... tokens with each layer, [k, d_max + 1].
        begin: of any analysis.
        read: of reading so many rows by the part of the head that analysis reads.
        alone: whether no other text shares passes: with others, these keep all rows' states.
    """

    rounds: Sequence[Sequence[float]]
    begin: float
    read: Callable[[int], float]
    alone: bool

    def of(self, rows: int) -> float:
        """An analysis of so many rows."""
        return self.begin + self.read(rows)


class Analysis:
    """Counters of k layers, decayed once a round, never within the prompt.

    Attributes:
        layers: those that rounds bring shadow tokens of.
        shadow: those that a plan asks for unless it says otherwise; None is all of them.
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
        """Decay, then count the round's committed positions; says whether anything is new."""
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
        """What things cost from now on."""

    def rank(self, best: float, promises: Callable[[Floats], Floats]) -> None:
        """What the best layer promises, and how promises [k, d_max + 1] follow from rates [k]."""

    def planned(self, plan: Plan) -> Plan:
        """A plan, with the layers whose shadow tokens the round is to bring."""
        return plan


class BudgetAnalysis(Analysis):
    """Few layers in some rounds, so that it takes `SHARE` of the time.

    Other rounds tell, for nothing, how the layer does that drafted.
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
        """See `Analysis`; 0 in the place of None, so that drafts bring their confidences."""
        return super().threshold(row) or 0.0

    def rank(self, best: float, promises: Callable[[Floats], Floats]) -> None:
        """Only layers that may be the best are analysed."""
        pairs = zip(self.layers, promises(self._hopes()).max(1), strict=True)
        self._contenders = tuple(layer for layer, hope in pairs if hope >= (1 - SLACK) * best)

    def _hopes(self) -> Floats:
        """Rates that may be, [k]: higher than `rates`, the longer ago a layer was observed."""
        hits, misses = self._counts
        hopes: Floats = (hits + HOPE) / (hits + misses + HOPE)
        return hopes

    def planned(self, plan: Plan) -> Plan:
        """See `Analysis`."""
        asked = self._asked(plan.exit_layer if plan.speculation_length else 0)
        return replace(plan, shadow=asked) if asked else plan

    def _asked(self, exit_layer: int) -> tuple[int, ...]:
        """Layers to analyse in a round that drafts with `exit_layer`, or with none."""
        if not self._counts.any():  # nothing is known
            return self.layers
        asked = self._contenders
        enough = self._saved >= self._prices.of(round(len(asked) * self._usual))
        return asked if self._prices.alone and enough and asked != (exit_layer,) else ()

    def observe(self, finished: Round) -> bool:
        """Note a round: some are learned from together."""
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
        """Count what was analysed, and what was drafted where it was not."""
        shadow, layer = finished.shadow, finished.plan.exit_layer
        if shadow is not None:
            rows = [self._rows[each] for each in shadow.layers]
            self._count(rows, shadow.matched, shadow.confidence)
        judged = min(finished.accepted + 1, finished.drafted)
        if judged and (shadow is None or layer not in shadow.layers):
            row, sure = self._rows[layer], list(finished.confidences)  # none where nobody asked
            self._counts[0, row] += finished.accepted
            self._counts[1, row] += judged - finished.accepted
            self._confidence[0, row] += sum(sure[: finished.accepted])
            self._confidence[1, row] += sum(sure[finished.accepted : judged])


def spaced(first: int, last: int) -> tuple[int, ...]:
    """Some layers from `first` to `last`, closer together where they are shallow."""
    return tuple(sorted({*np.geomspace(first, last, SPACED).round().astype(int).tolist()}))
