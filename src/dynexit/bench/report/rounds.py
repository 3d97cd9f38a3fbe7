"""What rounds add up to: over a set of texts, over a text's course, and over a round's phases."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dynexit.bench.report.columns import Rounds
from dynexit.bench.report.study import Sample
from dynexit.decoding.records import SECONDS

SEGMENTS = 4
POINTS = 24  # of a curve over rounds, at most

Curve = tuple[list[float], list[float]]  # round numbers from 1, values
Value = Callable[[Rounds], float | None]


def pooled(samples: Iterable[Sample]) -> Rounds:
    """All rounds of at least one text, so that every rate is a micro-average."""
    return Rounds.join(sample.own.rounds for sample in samples)


@dataclass(frozen=True)
class Split:
    """Milliseconds of the mean round."""

    draft: float
    verify: float
    control: float
    text: float

    @property
    def round(self) -> float:
        """All of it."""
        return self.draft + self.verify + self.control + self.text

    @property
    def control_share(self) -> float:
        """The controller's part of the round, lookup and shadow analysis included."""
        return self.control / self.round if self.round else 0.0


def split(rounds: Rounds) -> Split | None:
    """None where there is no round."""
    if not len(rounds):
        return None
    phases = (getattr(rounds, name) for name in SECONDS)
    return Split(*(1e3 * float(phase.mean(dtype=np.float64)) for phase in phases))


def segments(samples: Iterable[Sample], longest: int) -> list[Rounds]:
    """Rounds by the quarter of `longest` new tokens that their first token lies in."""
    rounds = [sample.own.rounds for sample in samples]
    joined = Rounds.join(rounds)
    quarters = np.concatenate([_starts(one) for one in rounds]) * SEGMENTS // longest
    quarters = np.minimum(quarters, SEGMENTS - 1)
    return [joined.pick(quarters == i) for i in range(SEGMENTS)]


def bounds(longest: int) -> list[tuple[int, int]]:
    """First and last new token of every segment, counted from 1."""
    edges = [-(-longest * i // SEGMENTS) for i in range(SEGMENTS + 1)]
    return [(start + 1, stop) for start, stop in pairwise(edges)]


def _starts(rounds: Rounds) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Index of every round's first token in the text; prefill made the one before them all."""
    return 1 + np.cumsum(rounds.tokens, dtype=np.int64) - rounds.tokens


def over_rounds(samples: Sequence[Sample], value: Value) -> Curve:
    """`value` of all texts' rounds of a number, while at least half of the texts go on.

    Neighbouring rounds are taken together so that a curve has at most `POINTS` points.
    """
    texts = [sample.own.rounds for sample in samples]
    lengths = sorted(map(len, texts))
    end = lengths[len(lengths) // 2] if lengths else 0
    width = max(1, -(-end // POINTS))
    curve: Curve = ([], [])
    for start in range(0, end, width):
        stop = min(start + width, end)
        found = value(Rounds.join(rounds.pick(slice(start, stop)) for rounds in texts))
        if found is not None:
            curve[0].append((start + 1 + stop) / 2)
            curve[1].append(found)
    return curve
