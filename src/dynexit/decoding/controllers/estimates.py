"""How often drafts are accepted, as `auto` learns it while the text grows.

Numbers in, numbers out; nothing here knows of costs or plans.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dynexit.decoding.records import Judged

Floats = NDArray[np.float64]

# Before anything is seen: how often a token is accepted whose confidence lies in a tenth of 0 to 1,
# and a looked-up one after so many matching tokens. Rounded from traces of the bundled model.
CONFIDENT = (0.40, 0.50, 0.60, 0.68, 0.77, 0.84, 0.89, 0.93, 0.96, 0.99)
MATCHED = (0.35, 0.50, 0.50, 0.60, 0.64, 0.74, 0.77, 0.78, 0.79, 0.83, 0.85, 0.88, 0.92)
WEIGHT = 8.0  # observations that the above count as
SPREAD = 0.5  # that every tenth of confidence has, seen or not
DRAFTS, LONGEST = 24, 12  # imagined drafts, and tokens of each
DRAWN = np.random.default_rng(0).random((DRAFTS, LONGEST))  # the same for all layers


@dataclass
class ExitEstimates:
    """What some exit layers' tokens are worth, by how sure the layer was of them."""

    layers: tuple[int, ...]
    _hits: dict[int, list[float]] = field(init=False)
    _seen: dict[int, list[float]] = field(init=False)

    def __post_init__(self) -> None:
        self._hits = {layer: [WEIGHT * odds for odds in CONFIDENT] for layer in self.layers}
        self._seen = {layer: [WEIGHT] * len(CONFIDENT) for layer in self.layers}

    def observe(self, layer: int, confidences: Sequence[float], matched: Sequence[bool]) -> None:
        """Count positions of one layer."""
        hits, seen = self._hits[layer], self._seen[layer]
        for confidence, match in zip(confidences, matched, strict=False):
            part = min(int(confidence * len(CONFIDENT)), len(CONFIDENT) - 1)
            hits[part] += match
            seen[part] += 1.0

    def seen(self, layer: int) -> float:
        """Positions counted of a layer."""
        return sum(self._seen[layer]) - WEIGHT * len(CONFIDENT)

    def odds(self, layer: int) -> tuple[float, ...]:
        """How often this layer's tokens are accepted, by tenths of confidence."""
        hits, seen = self._hits[layer], self._seen[layer]
        return tuple(h / s for h, s in zip(hits, seen, strict=True))

    def drafts(self, layer: int) -> Floats:
        """Imagined drafts [DRAFTS, LONGEST]: the chance that all tokens up to each are accepted,
        as confidences fell so far.
        """
        counts = np.array(self._seen[layer]) - WEIGHT + SPREAD
        ends = np.cumsum(counts) / counts.sum()
        parts = np.minimum(np.searchsorted(ends, DRAWN), len(CONFIDENT) - 1)
        return np.cumprod(np.array(self.odds(layer))[parts], axis=1)


@dataclass
class LookupEstimates:
    """How often looked-up tokens are accepted, by how many tokens before them matched."""

    _hits: list[float] = field(default_factory=lambda: [WEIGHT * odds for odds in MATCHED])
    _seen: list[float] = field(default_factory=lambda: [WEIGHT] * len(MATCHED))

    def observe(self, judged: Judged) -> None:
        """Count what became of an offer, used or not."""
        for index in range(judged.seen):
            part = min(judged.offer.match + index, len(MATCHED)) - 1
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
class Drift:
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
