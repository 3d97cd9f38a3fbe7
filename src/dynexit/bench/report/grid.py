"""What fixed pairs of exit layer and speculation length could have done, chosen with hindsight."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from dynexit.bench.report.naming import FixedPair
from dynexit.bench.report.study import Prompt, Study, by_task
from dynexit.bench.report.timing import Interval, Timing, interval, total

Choice = Mapping[Prompt, FixedPair]


@dataclass(frozen=True)
class Strategy:
    """A way to choose, and what came of it.

    Attributes:
        pairs: what was chosen, by prompt; empty for a method that chooses for itself.
    """

    name: str
    timings: Mapping[Prompt, Timing]
    pairs: Choice

    def speedup(self, task: str | None = None) -> float | None:
        """Over vanilla."""
        return total(t for (of, _), t in self.timings.items() if task in (None, of)).speedup

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the speedup; the choice itself is not made anew."""
        return interval(by_task(self.timings))

    def pair(self, task: str | None = None) -> FixedPair | None:
        """The one pair that was chosen throughout, if it was one."""
        chosen = {pair for (of, _), pair in self.pairs.items() if task in (None, of)}
        return chosen.pop() if len(chosen) == 1 else None


@dataclass(frozen=True)
class Grid:
    """Timings of all fixed pairs, on the prompts that each of them has finished."""

    timings: Mapping[FixedPair, Mapping[Prompt, Timing]]

    @classmethod
    def of(cls, study: Study) -> "Grid":
        """The grid of a study; without pairs or without prompts where it has none."""
        every = {pair: study.timings(method) for pair, method in study.grid.items()}
        found = [set(timings) for timings in every.values()]
        shared = set.intersection(*found) if found else set()
        return cls(
            {p: {k: t for k, t in timings.items() if k in shared} for p, timings in every.items()}
        )

    @property
    def prompts(self) -> list[Prompt]:
        """Those that every pair has finished."""
        return list(next(iter(self.timings.values()), {}))

    @property
    def tasks(self) -> list[str]:
        """Of these prompts."""
        return list(dict.fromkeys(task for task, _ in self.prompts))

    def __bool__(self) -> bool:
        return bool(self.prompts)

    @cached_property
    def best_overall(self) -> Strategy:
        """One pair for everything."""
        pair = self._best(self.prompts)
        return self.strategy(pair, "best fixed pair")

    @cached_property
    def best_per_task(self) -> Strategy:
        """One pair for each task."""
        best = {task: self._best([p for p in self.prompts if p[0] == task]) for task in self.tasks}
        choice = {prompt: best[prompt[0]] for prompt in self.prompts}
        return self._chosen("best fixed pair per task", choice)

    @cached_property
    def oracle(self) -> Strategy:
        """One pair for each prompt."""
        return self._chosen("oracle", {p: self._best([p]) for p in self.prompts})

    def strategy(self, pair: FixedPair, name: str = "fixed") -> Strategy:
        """The same pair on every prompt."""
        return self._chosen(name, dict.fromkeys(self.prompts, pair))

    def method(self, study: Study, method: str) -> Strategy | None:
        """A method on the same prompts; None where it has not finished all of them."""
        timings = study.timings(method)
        if not all(prompt in timings for prompt in self.prompts):
            return None
        return Strategy(method, {p: timings[p] for p in self.prompts}, {})

    def regret(self, strategy: Strategy) -> float | None:
        """1 - speedup / the oracle's speedup."""
        own, best = strategy.speedup(), self.oracle.speedup()
        return None if own is None or not best else 1 - own / best

    def _best(self, prompts: list[Prompt]) -> FixedPair:
        """The fastest pair over these prompts; the shallowest and shortest of equals."""
        speeds = {
            pair: total(timings[prompt] for prompt in prompts).speedup or 0.0
            for pair, timings in self.timings.items()
        }
        return max(speeds, key=lambda pair: (speeds[pair], -pair[0], -pair[1]))

    def _chosen(self, name: str, choice: Choice) -> Strategy:
        return Strategy(name, {p: self.timings[pair][p] for p, pair in choice.items()}, choice)
