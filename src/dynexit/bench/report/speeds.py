"""Speedups of methods over vanilla, and of fixed pairs of exit layer and speculation length that
are chosen with hindsight.

Speedup = (vanilla seconds / vanilla tokens) / (method seconds / method tokens), each summed over
the set first: a micro-average over tokens. Decoding only, without prefill.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynexit import rates

RESAMPLES = 1_000
FEWEST = 5  # prompts that say anything of others
COVERED = (2.5, 97.5)  # percentiles: a 95 % interval

Interval = tuple[float, float]
Prompt = tuple[str, str]  # task, example
FixedPair = tuple[int, int]  # exit layer, speculation length


class Timing(NamedTuple):
    """Seconds and tokens of decoding, vanilla's beside a method's."""

    plain_seconds: float = 0.0
    plain_tokens: int = 0
    seconds: float = 0.0
    tokens: int = 0

    @classmethod
    def sum(cls, timings: Iterable["Timing"]) -> "Timing":
        """All of them together."""
        return cls(*map(sum, zip(*timings, strict=True)))

    @property
    def speedup(self) -> float | None:
        """Speed over vanilla's; None where nothing was decoded."""
        plain = rates.tokens_per_second(self.plain_tokens, self.plain_seconds)
        return rates.speedup(self.tokens_per_second, plain)

    @property
    def tokens_per_second(self) -> float | None:
        """Speed of the method."""
        return rates.tokens_per_second(self.tokens, self.seconds)


Timings = Mapping[Prompt, Timing]


def total(timings: Timings, task: str | None = None) -> Timing:
    """Timing over all prompts, or over those of one task."""
    return Timing.sum(timing for (of, _), timing in timings.items() if task in (None, of))


def interval(timings: Timings, seed: int = 0) -> Interval | None:
    """95 % bootstrap interval of the speedup; None of fewer than five prompts.

    Prompts are drawn anew with replacement within each task, since the prompts are a sample and the
    tasks are not.
    """
    if len(timings) < FEWEST:
        return None
    generator = np.random.default_rng(seed)
    sums = np.zeros((RESAMPLES, 4))
    for task in sorted({task for task, _ in timings}):
        rows = [timing for (of, _), timing in timings.items() if of == task]
        sums += _resample(np.array(rows, np.float64), generator)
    drawn: list[list[Any]] = sums.tolist()
    speedups = (Timing(*row).speedup for row in drawn)
    return _covering([speedup for speedup in speedups if speedup is not None])


def median_interval(values: Sequence[float], seed: int = 0) -> Interval | None:
    """95 % bootstrap interval of the median; None of fewer than five values."""
    if len(values) < FEWEST:
        return None
    drawn = np.random.default_rng(seed).choice(np.array(values), (RESAMPLES, len(values)))
    return _covering(np.median(drawn, axis=1).tolist())


def _resample(rows: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Sums [RESAMPLES, 4] over as many rows [n, 4] as there are, drawn with replacement."""
    count = len(rows)
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return drawn @ rows


def _covering(values: Sequence[float]) -> Interval | None:
    if not values:
        return None
    low, high = np.percentile(values, COVERED)
    return float(low), float(high)


@dataclass(frozen=True)
class Strategy:
    """A way to choose, and what came of it.

    Attributes:
        pairs: what was chosen, by prompt; empty for a method that chooses for itself.
    """

    name: str
    timings: Timings
    pairs: Mapping[Prompt, FixedPair]

    def speedup(self, task: str | None = None) -> float | None:
        """Speed over vanilla's."""
        return total(self.timings, task).speedup

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the speedup; the choice itself is not made anew."""
        return interval(self.timings)

    def pair(self, task: str | None = None) -> FixedPair | None:
        """The one pair that was chosen throughout, if it was one."""
        chosen = {pair for (of, _), pair in self.pairs.items() if task in (None, of)}
        return chosen.pop() if len(chosen) == 1 else None


class Grid:
    """Timings of all fixed pairs, on the prompts that each of them has finished."""

    def __init__(self, timings: Mapping[FixedPair, Timings]) -> None:
        found = list(timings.values())
        shared = [p for p in found[0] if all(p in other for other in found)] if found else []
        self.prompts: Sequence[Prompt] = shared
        self.tasks = list(dict.fromkeys(task for task, _ in shared))
        self.timings = {pair: {p: own[p] for p in shared} for pair, own in timings.items()}

    def __bool__(self) -> bool:
        return bool(self.prompts)

    @cached_property
    def best_overall(self) -> Strategy:
        """One pair for everything."""
        return self.strategy(self._best(self.prompts), "best fixed pair")

    @cached_property
    def best_per_task(self) -> Strategy:
        """One pair for each task."""
        best = {task: self._best([p for p in self.prompts if p[0] == task]) for task in self.tasks}
        return self._chosen("best fixed pair per task", {p: best[p[0]] for p in self.prompts})

    @cached_property
    def oracle(self) -> Strategy:
        """One pair for each prompt."""
        return self._chosen("oracle", {p: self._best([p]) for p in self.prompts})

    def strategy(self, pair: FixedPair, name: str = "fixed") -> Strategy:
        """The same pair on every prompt."""
        return self._chosen(name, dict.fromkeys(self.prompts, pair))

    def method(self, name: str, timings: Timings) -> Strategy | None:
        """A method on the same prompts; None where it has not finished all of them."""
        if not all(prompt in timings for prompt in self.prompts):
            return None
        return Strategy(name, {p: timings[p] for p in self.prompts}, {})

    def regret(self, strategy: Strategy) -> float | None:
        """1 - speedup / the oracle's speedup."""
        own, best = strategy.speedup(), self.oracle.speedup()
        return None if own is None or not best else 1 - own / best

    def _best(self, prompts: Sequence[Prompt]) -> FixedPair:
        """The fastest pair over these prompts; the shallowest and shortest of equals."""
        speeds = {
            pair: Timing.sum(timings[prompt] for prompt in prompts).speedup or 0.0
            for pair, timings in self.timings.items()
        }
        return max(speeds, key=lambda pair: (speeds[pair], -pair[0], -pair[1]))

    def _chosen(self, name: str, choice: Mapping[Prompt, FixedPair]) -> Strategy:
        return Strategy(name, {p: self.timings[pair][p] for p, pair in choice.items()}, choice)


def axes_of(pairs: Iterable[FixedPair]) -> tuple[list[int], list[int]]:
    """Exit layers and speculation lengths of fixed pairs, rising."""
    listed = list(pairs)
    return sorted({layer for layer, _ in listed}), sorted({length for _, length in listed})
