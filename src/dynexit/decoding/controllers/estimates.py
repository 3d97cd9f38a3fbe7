"""How often drafts are accepted, as `auto` learns it while the text grows.

Numbers in, numbers out; nothing here knows of costs or plans.
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

from dynexit.decoding.controllers.imagining import Chances
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
    """What some exit layers' tokens are worth, by how sure the layer was of them.

    A layer whose tokens are accepted less often than its confidence says is trusted less at every
    confidence, and so, until they are known, are the others.

    Args:
        sample: what the layers said of another text, which counts less.
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
        """Let what was counted of a layer so far count less: texts change."""
        for counts in (self._hits, self._seen):
            counts[layer] = [memory * part for part in counts[layer]]
        self._agreed[layer] *= memory
        self._expected[layer] *= memory

    def seen(self, layer: int) -> float:
        """Positions counted of a layer."""
        return sum(self._seen[layer])

    def doubt(self, layer: int) -> float:
        """By how much the share of its tokens that are accepted may be off, by what was seen of
        them: a standard error, at most.
        """
        return 0.5 / sqrt(seen) if (seen := self.seen(layer)) else 0.0

    def odds(self, layer: int) -> tuple[float, ...]:
        """How often this layer's tokens are accepted, by tenths of confidence."""
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
        """What the next drafts of a layer will be like."""
        counts = list(map(add, self._seen[layer], self._usual[layer]))
        whole = sum(counts)
        return Chances(self.odds(layer), [part / whole for part in accumulate(counts)])


def _mixed(tenths: IntArray) -> list[float]:
    """Half of what is usual spread as a sample's confidences are, and half evenly."""
    shares = np.bincount(tenths, minlength=len(CONFIDENT)) / len(tenths)
    mixed: list[float] = (SPREAD * (1.0 + len(CONFIDENT) * shares) / 2).tolist()
    return mixed


def sample_tenths(confidence: npt.NDArray[np.floating[Any]]) -> IntArray:
    """`tenth` of each; what is no number, which decoding refuses, counts as unsure."""
    parts = (np.nan_to_num(confidence) * len(CONFIDENT)).astype(np.int64)
    return parts.clip(0, len(CONFIDENT) - 1)


def tenth(confidence: float) -> int:
    """The tenth of 0 to 1 that a confidence lies in."""
    return min(int(confidence * len(CONFIDENT)), len(CONFIDENT) - 1)


@dataclass
class OtherEstimates:
    """How often a second or third choice is right, by how sure the layer was of its first.

    Layers hardly differ in that, so all are counted together; but the other choices of a layer
    that is not to be trusted are worth no more than its first.
    """

    _hits: list[list[float]] = field(default_factory=lambda: [[0.0] * len(o) for o in OTHERS])
    _seen: list[list[float]] = field(default_factory=lambda: [[0.0] * len(o) for o in OTHERS])

    def observe(self, rank: int, confidence: float, accepted: bool) -> None:
        """Count one whose parent the target has reached; ranks count from 1."""
        part = tenth(confidence)
        self._hits[rank - 1][part] += accepted
        self._seen[rank - 1][part] += 1.0

    def odds(self, trust: float) -> tuple[tuple[float, ...], ...]:
        """By rank and tenth, of a layer that is trusted so far."""
        weight = WEIGHT * trust
        return tuple(
            tuple((h + weight * usual) / (s + WEIGHT) for h, s, usual in zip(*rank, strict=True))
            for rank in zip(self._hits, self._seen, OTHERS, strict=True)
        )


@dataclass
class OfferEstimates:
    """How often proposed tokens are right, by kind of evidence.

    A proposer that is right less often than its priors say is trusted less in every kind.

    Args:
        priors: of each proposer.
    """

    priors: tuple[tuple[float, ...], ...]
    _hits: list[list[float]] = field(init=False)
    _seen: list[list[float]] = field(init=False)

    def __post_init__(self) -> None:
        self._hits = [[0.0] * len(each) for each in self.priors]
        self._seen = [[0.0] * len(each) for each in self.priors]

    def observe(self, evidence: Evidence) -> None:
        """Count what became of offers, used or not."""
        right, seen = iter(evidence.right), iter(evidence.seen)
        for hits, times in zip(self._hits, self._seen, strict=True):
            hits[:] = map(add, hits, right)
            times[:] = map(add, times, seen)

    @property
    def odds(self) -> list[float]:
        """By kind of evidence, of one proposer after the other."""
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
    """How much longer than on average an exit's drafts are, by what proposers offer beside them:
    what is easy for them is often easy for it.
    """

    _accepted: list[float] = field(default_factory=lambda: [WEIGHT] * (len(EASY) + 1))
    _expected: list[float] = field(default_factory=lambda: [WEIGHT] * (len(EASY) + 1))

    def observe(self, offered: float, accepted: int, expected: float) -> None:
        """Count a round that drafted with an exit."""
        part = bisect(EASY, offered)
        self._accepted[part] += accepted
        self._expected[part] += expected

    def growth(self, offered: float) -> float:
        """Where proposers expect so many tokens to be accepted."""
        part = bisect(EASY, offered)
        return self._accepted[part] / self._expected[part]


class Estimates:
    """What a text has said of its exits, of their other choices, and of what it repeats."""

    def __init__(self, layers: tuple[int, ...], sample: ShadowTokens | None) -> None:
        self.exits = ExitEstimates(layers, sample)
        self.others, self._offers, self.ease = OtherEstimates(), OfferEstimates(()), Ease()

    def offers(self, priors: tuple[tuple[float, ...], ...]) -> "OfferEstimates":
        """Of offers whose kinds of evidence have these priors."""
        if self._offers.priors != priors:
            self._offers = OfferEstimates(priors)
        return self._offers

    def learn(self, rounds: Sequence[Round], memory: float) -> None:
        """From what was drafted and analysed; of exits that were drafted with, `memory`
        of what was counted before stays.
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
        """Count tokens of which it is known whether the target would have written them."""
        confidences, matched = [], []
        for rank, confidence, accepted in finished.judged():
            if rank:
                self.others.observe(rank, confidence, accepted)
            else:
                confidences.append(confidence)
                matched.append(accepted)
        self.exits.observe(finished.plan.exit_layer, confidences, matched)
