"""Acceptance rates of drafts, which `auto` learns as the text grows.

Numbers in, numbers out. Not responsible for costs or plans.
"""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from itertools import accumulate
from math import sqrt
from operator import add, mul
from typing import Any

import numpy as np
import numpy.typing as npt

from dynexit.decoding.imagining import Chances
from dynexit.decoding.records import Evidence, Round, ShadowTokens

# Before anything is seen: how often a token is accepted whose confidence lies in a tenth of 0 to 1.
# Rounded from traces of the bundled model.
CONFIDENT = (0.40, 0.50, 0.60, 0.68, 0.77, 0.84, 0.89, 0.93, 0.96, 0.99)
OTHERS = (  # its second choice instead, its third
    (0.19, 0.19, 0.18, 0.18, 0.15, 0.09, 0.07, 0.05, 0.03, 0.01),
    (0.10, 0.10, 0.09, 0.07, 0.05, 0.04, 0.03, 0.02, 0.01, 0.00),
)
IntArray = npt.NDArray[np.int64]
WEIGHT = 8.0  # observations that the above count as
ELSEWHERE = 0.25  # of a token of another text
BELIEF = 4.0  # expected tokens that trust in a layer counts as, and in all of them
SPREAD = 0.5  # tokens that every tenth of confidence begins with, on average


@dataclass
class ExitEstimates:
    """Acceptance rates of some exit layers' tokens, by the layer's confidence.

    If a layer's tokens are accepted less often than its confidence predicts, it is trusted less at
    every confidence. The same trust applies to layers without observations yet.

    Args:
        sample: the layers' predictions for a sample text, which count less.
    """

    layers: tuple[int, ...]
    sample: InitVar[ShadowTokens | None] = None
    _hits: dict[int, list[float]] = field(init=False)
    _seen: dict[int, list[float]] = field(init=False)
    _agreed: dict[int, float] = field(init=False)
    _expected: dict[int, float] = field(init=False)
    _usual: dict[int, list[float]] = field(init=False)

    def __post_init__(self, sample: ShadowTokens | None) -> None:
        self._hits = {layer: [0.0] * len(CONFIDENT) for layer in self.layers}
        self._seen = {layer: [0.0] * len(CONFIDENT) for layer in self.layers}
        self._agreed = dict.fromkeys(self.layers, 0.0)
        self._expected = dict.fromkeys(self.layers, 0.0)
        self._usual = {layer: [SPREAD] * len(CONFIDENT) for layer in self.layers}
        if sample is not None:
            self._begin_with(sample)

    def _begin_with(self, sample: ShadowTokens) -> None:
        parts, agreed = sample_tenths(sample.confidence), sample.matched.sum(axis=1)
        expected = np.take(CONFIDENT, parts).sum(axis=1)
        for layer, tenths, right, hoped in zip(
            sample.layers, parts, agreed.tolist(), expected.tolist(), strict=True
        ):
            if layer in self._agreed:
                self._agreed[layer], self._expected[layer] = ELSEWHERE * right, ELSEWHERE * hoped
                self._usual[layer] = _mixed(tenths)

    def observe(self, layer: int, confidences: Sequence[float], matched: Sequence[bool]) -> None:
        """Count positions of one layer."""
        hits, seen = self._hits[layer], self._seen[layer]
        agreed = expected = 0.0
        for confidence, match in zip(confidences, matched, strict=False):
            part = tenth(confidence)
            hits[part] += match
            seen[part] += 1.0
            agreed += match
            expected += CONFIDENT[part]
        self._agreed[layer] += agreed
        self._expected[layer] += expected

    def fade(self, layer: int, memory: float) -> None:
        """Reduce the weight of a layer's earlier counts, since texts change."""
        for counts in (self._hits, self._seen):
            counts[layer] = [memory * part for part in counts[layer]]
        self._agreed[layer] *= memory
        self._expected[layer] *= memory

    def seen(self, layer: int) -> float:
        """Positions counted of a layer."""
        return sum(self._seen[layer])

    def doubt(self, layer: int) -> float:
        """Possible error of its acceptance rate: two standard errors of its observed positions, at
        most. 0 before any: then its estimate is the sample's.
        """
        return 1.0 / sqrt(seen) if (seen := self.seen(layer)) else 0.0

    def odds(self, layer: int) -> tuple[float, ...]:
        """The layer's acceptance rate, by tenths of confidence."""
        weight = WEIGHT * self.trust(layer)
        pairs = zip(self._hits[layer], self._seen[layer], CONFIDENT, strict=True)
        return tuple((h + weight * usual) / (s + WEIGHT) for h, s, usual in pairs)

    def trust(self, layer: int) -> float:
        """Tokens accepted for each one expected, at most 1."""
        agreed, expected = sum(self._agreed.values()), sum(self._expected.values())
        others = (BELIEF + agreed) / (BELIEF + expected)
        agreed = BELIEF * others + self._agreed[layer]
        return min(agreed / (BELIEF + self._expected[layer]), 1.0)

    def chances(self, layer: int) -> Chances:
        """Acceptance rates and confidences expected of a layer's next drafts."""
        counts = list(map(add, self._seen[layer], self._usual[layer]))
        whole = sum(counts)
        return Chances(self.odds(layer), [part / whole for part in accumulate(counts)])


def _mixed(tenths: IntArray) -> list[float]:
    """A prior of confidences: half spread as a sample's confidences are, half evenly."""
    shares = np.bincount(tenths, minlength=len(CONFIDENT)) / len(tenths)
    mixed: list[float] = (SPREAD * (1.0 + len(CONFIDENT) * shares) / 2).tolist()
    return mixed


def sample_tenths(confidence: npt.NDArray[np.floating[Any]]) -> IntArray:
    """`tenth` of each; NaN, which decoding refuses, counts as uncertain."""
    parts = (np.nan_to_num(confidence) * len(CONFIDENT)).astype(np.int64)
    return parts.clip(0, len(CONFIDENT) - 1)


def tenth(confidence: float) -> int:
    """The tenth of 0 to 1 that a confidence lies in."""
    return min(int(confidence * len(CONFIDENT)), len(CONFIDENT) - 1)


@dataclass
class OtherEstimates:
    """How often a second or third choice is right, by the layer's confidence in its first.

    Layers hardly differ in that, so all are counted together. But the other choices of a layer are
    trusted no more than its first.
    """

    _hits: list[list[float]] = field(default_factory=lambda: [[0.0] * len(o) for o in OTHERS])
    _seen: list[list[float]] = field(default_factory=lambda: [[0.0] * len(o) for o in OTHERS])

    def observe(self, rank: int, confidence: float, accepted: bool) -> None:
        """Count one choice whose parent was accepted; ranks count from 1."""
        part = tenth(confidence)
        self._hits[rank - 1][part] += accepted
        self._seen[rank - 1][part] += 1.0

    def odds(self, trust: float) -> tuple[tuple[float, ...], ...]:
        """Acceptance rates by rank and tenth, for a layer with this trust."""
        weight = WEIGHT * trust
        return tuple(
            tuple((h + weight * usual) / (s + WEIGHT) for h, s, usual in zip(*rank, strict=True))
            for rank in zip(self._hits, self._seen, OTHERS, strict=True)
        )


@dataclass
class OfferEstimates:
    """How often proposed tokens are right, by kind of evidence.

    A proposer that is right less often than its priors say is trusted less for every kind.

    Args:
        priors: each proposer's priors, by kind.
    """

    priors: tuple[tuple[float, ...], ...]
    _hits: list[list[float]] = field(init=False)
    _seen: list[list[float]] = field(init=False)

    def __post_init__(self) -> None:
        self._hits = [[0.0] * len(each) for each in self.priors]
        self._seen = [[0.0] * len(each) for each in self.priors]

    def observe(self, evidence: Evidence) -> None:
        """Count how offers compared with the text, whether they were used or not."""
        right, seen = iter(evidence.right), iter(evidence.seen)
        for hits, times in zip(self._hits, self._seen, strict=True):
            hits[:] = map(add, hits, right)
            times[:] = map(add, times, seen)

    @property
    def odds(self) -> list[float]:
        """Acceptance rates by kind of evidence, proposer by proposer."""
        found = []
        for priors, hits, seen in zip(self.priors, self._hits, self._seen, strict=True):
            expected = sum(map(mul, seen, priors))
            weight = WEIGHT * min((BELIEF + sum(hits)) / (BELIEF + expected), 1.0)
            found += [
                (h + weight * prior) / (s + WEIGHT)
                for h, s, prior in zip(hits, seen, priors, strict=True)
            ]
        return found


EASY = (0.6, 1.5)  # expected tokens of an offer from which a place counts as easier, and as easy


@dataclass
class Ease:
    """How much longer than average an exit's drafts are, given what proposers offer: text that is
    easy for proposers is often easy for the exit.
    """

    _accepted: list[float] = field(default_factory=lambda: [WEIGHT] * (len(EASY) + 1))
    _expected: list[float] = field(default_factory=lambda: [WEIGHT] * (len(EASY) + 1))

    def observe(self, offered: float, accepted: int, expected: float) -> None:
        """Count a round that drafted with an exit."""
        part = bisect(EASY, offered)
        self._accepted[part] += accepted
        self._expected[part] += expected

    def growth(self, offered: float) -> float:
        """The factor on draft length where proposers expect this many accepted tokens."""
        part = bisect(EASY, offered)
        return self._accepted[part] / self._expected[part]


class Estimates:
    """A text's statistics: of its exits, of their other choices, and of proposers."""

    def __init__(self, layers: tuple[int, ...], sample: ShadowTokens | None) -> None:
        self.exits = ExitEstimates(layers, sample)
        self.others, self._offers, self.ease = OtherEstimates(), OfferEstimates(()), Ease()

    def offers(self, priors: tuple[tuple[float, ...], ...]) -> "OfferEstimates":
        """The estimates of offers whose kinds of evidence have these priors."""
        if self._offers.priors != priors:
            self._offers = OfferEstimates(priors)
        return self._offers

    def learn(self, rounds: Sequence[Round], memory: float) -> None:
        """Learn from drafted and analysed tokens. For exits that were drafted with, earlier counts
        are multiplied by `memory`.
        """
        for layer in {one.plan.exit_layer for one in rounds if one.drafted} - {0}:
            self.exits.fade(layer, memory)
        for finished in rounds:
            if finished.plan.exit_layer:
                self._observe_draft(finished)
            if shadow := finished.shadow:
                for layer, sure, matched in zip(
                    shadow.layers, shadow.confidence.tolist(), shadow.matched.tolist(), strict=True
                ):
                    self.exits.observe(layer, sure, matched)

    def _observe_draft(self, finished: Round) -> None:
        """Count the drafted tokens that the target has judged."""
        confidences, matched = [], []
        for rank, confidence, accepted in finished.judged():
            if rank:
                self.others.observe(rank, confidence, accepted)
            else:
                confidences.append(confidence)
                matched.append(accepted)
        self.exits.observe(finished.plan.exit_layer, confidences, matched)
