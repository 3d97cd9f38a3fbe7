"""Speedup over a set of prompts, and how far it may be off.

Speedup = (vanilla seconds / vanilla tokens) / (method seconds / method tokens), each summed over
the set first: a micro-average over tokens. Decoding alone; prefill is in none of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000
FEWEST = 5  # prompts that say anything of others
COVERED = (2.5, 97.5)  # percentiles: a 95 % interval

Interval = tuple[float, float]


@dataclass(frozen=True)
class Timing:
    """Seconds and tokens of decoding, vanilla's beside a method's. They add up."""

    plain_seconds: float = 0.0
    plain_tokens: int = 0
    seconds: float = 0.0
    tokens: int = 0

    def __add__(self, other: "Timing") -> "Timing":
        return Timing(
            self.plain_seconds + other.plain_seconds,
            self.plain_tokens + other.plain_tokens,
            self.seconds + other.seconds,
            self.tokens + other.tokens,
        )

    @property
    def speedup(self) -> float | None:
        """Over vanilla; None where nothing was decoded."""
        if not (self.plain_tokens and self.seconds):
            return None
        return self.plain_seconds / self.plain_tokens * self.tokens / self.seconds

    @property
    def tokens_per_second(self) -> float | None:
        """Of the method."""
        return self.tokens / self.seconds if self.seconds else None


def total(timings: Iterable[Timing]) -> Timing:
    """All of them together."""
    return sum(timings, Timing())


def interval(strata: Sequence[Sequence[Timing]], seed: int = 0) -> Interval | None:
    """95 % bootstrap interval of the speedup; None of fewer than five prompts.

    Args:
        strata: timings of prompts, task by task. Prompts are drawn anew with replacement within
            each task, since the prompts are a sample and the tasks are not.
    """
    if sum(map(len, strata)) < FEWEST:
        return None
    generator = np.random.default_rng(seed)
    sums = np.zeros((RESAMPLES, 4))
    for timings in strata:
        sums += _resample(np.array([astuple(t) for t in timings], np.float64), generator)
    speedups = sums[:, 0] / sums[:, 1] * sums[:, 3] / sums[:, 2]
    low, high = np.percentile(speedups, COVERED)
    return float(low), float(high)


def median_interval(values: Sequence[float], seed: int = 0) -> Interval | None:
    """95 % bootstrap interval of the median; None of fewer than five values."""
    if len(values) < FEWEST:
        return None
    drawn = np.random.default_rng(seed).choice(np.array(values), (RESAMPLES, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), COVERED)
    return float(low), float(high)


def _resample(rows: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Sums [RESAMPLES, 4] over as many rows [n, 4] as there are, drawn with replacement."""
    count = len(rows)
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return drawn @ rows
