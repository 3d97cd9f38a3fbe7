"""How often drafts are accepted, as `auto` learns it while the text grows.

Numbers in, numbers out; nothing here knows of costs or plans.
"""

from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import InitVar, dataclass, field
from itertools import accumulate
from operator import add
from typing import NamedTuple

import numpy as np

from dynexit.decoding.records import Judged, ShadowTokens
from dynexit.model.drafting_rule import Pricing

# Before anything is seen: how often a token is accepted whose confidence lies in a tenth of 0 to 1,
# and a looked-up one after so many matching tokens. Rounded from traces of the bundled model.
CONFIDENT = (0.40, 0.50, 0.60, 0.68, 0.77, 0.84, 0.89, 0.93, 0.96, 0.99)
MATCHED = (0.35, 0.50, 0.50, 0.60, 0.64, 0.74, 0.77, 0.78, 0.79, 0.83, 0.85, 0.88, 0.92)
OTHERS = (  # its second choice instead, its third
    (0.19, 0.19, 0.18, 0.18, 0.15, 0.09, 0.07, 0.05, 0.03, 0.01),
    (0.10, 0.10, 0.09, 0.07, 0.05, 0.04, 0.03, 0.02, 0.01, 0.00),
)
WEIGHT = 8.0  # observations that the above count as
ELSEWHERE = 0.25  # of a token of another text
BELIEF = 4.0  # expected tokens that trust in a layer counts as, and in all of them
SPREAD = 0.5  # tokens that every tenth of confidence begins with, on average
DRAFTS, DRAWS = 12, 64  # imagined drafts, and confidences of each
DRAWN = np.random.default_rng(0).random((DRAFTS, DRAWS)).tolist()  # the same for all layers


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
        confidence = np.nan_to_num(sample.confidence)  # what is no number, decoding refuses
        for layer, sure, matched in zip(sample.layers, confidence, sample.matched, strict=True):
            if layer in self._agreed:
                self._expected[layer] = ELSEWHERE * sum(CONFIDENT[tenth(c)] for c in sure)
                self._agreed[layer] = ELSEWHERE * float(matched.sum())
                self._usual[layer] = _mixed([tenth(c) for c in sure])

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

    def chances(self, layer: int) -> "Chances":
        """What the next drafts of a layer will be like."""
        counts = list(map(add, self._seen[layer], self._usual[layer]))
        whole = sum(counts)
        return Chances(self.odds(layer), [part / whole for part in accumulate(counts)])


def _mixed(tenths: Sequence[int]) -> list[float]:
    """Half of what is usual spread as a sample's confidences are, and half evenly."""
    shares = np.bincount(tenths, minlength=len(CONFIDENT)) / len(tenths)
    mixed: list[float] = (SPREAD * (1.0 + len(CONFIDENT) * shares) / 2).tolist()
    return mixed


class Imagined(NamedTuple):
    """Means over imagined drafts: tokens, those accepted, levels."""

    tokens: float
    accepted: float
    levels: float


class Chances(NamedTuple):
    """Of a layer's tokens, by tenths of confidence: how often they are accepted, and how many of
    them lie below each tenth's end.
    """

    odds: tuple[float, ...]
    ends: list[float]

    @property
    def mean(self) -> float:
        """How often any token is accepted."""
        return sum(
            odds * (end - begin)
            for odds, begin, end in zip(self.odds, [0.0, *self.ends], self.ends, strict=False)
        )

    def imagine(self, pricing: Pricing) -> Imagined:
        """Drafts that grow as `model.drafting_rule` says, with confidences as they fell so far."""
        parts = list(zip(*pricing.odds, strict=True))  # of each tenth, its children's odds
        last, most = len(parts) - 1, len(pricing.rows)
        tokens, accepted, levels = 0, 0.0, 0
        for drawn in DRAWN:
            draws, chances, count = iter(drawn), [1.0], 0
            for floor in (*pricing.levels, 0.0):
                levels += 1
                children = sorted(
                    (
                        chance * odds
                        for chance, draw in zip(chances, draws, strict=False)
                        for odds in parts[min(bisect(self.ends, draw), last)]
                    ),
                    reverse=True,
                )
                chances = []
                for chance in children:
                    if count == most or chance < pricing.rows[count]:
                        break
                    chances.append(chance)
                    count += 1
                total = sum(chances)
                accepted += total
                if total <= floor:
                    break
            tokens += count
        return Imagined(tokens / DRAFTS, accepted / DRAFTS, levels / DRAFTS)


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
class LookupEstimates:
    """How often looked-up tokens are accepted, by how many tokens before them matched."""

    _hits: list[float] = field(default_factory=lambda: [WEIGHT * odds for odds in MATCHED])
    _seen: list[float] = field(default_factory=lambda: [WEIGHT] * len(MATCHED))

    def observe(self, judged: Judged) -> None:
        """Count what became of an offer, used or not."""
        for index in range(judged.seen):
            part = min(judged.match + index, len(MATCHED)) - 1
            self._hits[part] += index < judged.agreed
            self._seen[part] += 1.0

    def chances(self, match: int, count: int) -> Iterator[float]:
        """The chance that all of the first 1, 2, ... `count` tokens of an offer are accepted."""
        chance = 1.0
        for index in range(count):
            part = min(match + index, len(MATCHED)) - 1
            chance *= self._hits[part] / self._seen[part]
            yield chance


@dataclass
class Calibration:
    """How much longer than foreseen something takes now; what has not been seen lately is as
    `expected`.

    Attributes:
        trust: rounds that the expectation counts as.
    """

    actual: float = 0.0
    rounds: float = 0.0
    trust: float = 0.0
    memory: float = 0.95

    def observe(self, actual: float, foreseen: float) -> None:
        """Count a round; one that was held up by something else counts no more than fourfold."""
        self.actual += min(actual / foreseen, 4.0 * self.ratio()) if foreseen else 1.0
        self.rounds += 1.0

    def fade(self) -> None:
        """A round has passed."""
        self.actual, self.rounds = self.actual * self.memory, self.rounds * self.memory

    def ratio(self, expected: float = 1.0) -> float:
        """Actual over foreseen seconds."""
        counted = self.rounds + self.trust
        return (self.actual + self.trust * expected) / counted if counted else expected


@dataclass
class Pace:
    """Tokens per second of the last rounds, each counting a tenth less than the one after it."""

    tokens: float
    seconds: float
    memory: float = 0.9

    def observe(self, tokens: int, seconds: float) -> None:
        """Count a round."""
        self.tokens = self.tokens * self.memory + tokens
        self.seconds = self.seconds * self.memory + seconds

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds
