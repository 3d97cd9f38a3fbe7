"""What rounds add up to: over a set of texts, over a text's course, and over a round's phases."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from dynexit.bench.report.study import Sample
from dynexit.decoding.records import Round, Statistics

SEGMENTS = 4
POINTS = 40  # of a curve over rounds, at most

Curve = tuple[list[float], list[float]]  # round numbers from 1, values
Value = Callable[[Sequence[Round]], float | None]


def pooled(samples: Iterable[Sample]) -> Statistics:
    """All rounds as one text's, so that every rate is a micro-average."""
    all_of = [sample.record.statistics for sample in samples]
    return Statistics(
        all_of[0].num_layers if all_of else 0,
        [r for one in all_of for r in one.rounds],
        sum(one.prefill_seconds for one in all_of),
        sum(one.decode_seconds for one in all_of),
    )


@dataclass(frozen=True)
class Split:
    """Milliseconds of the mean round."""

    draft: float
    verify: float
    control: float

    @property
    def round(self) -> float:
        """All of it."""
        return self.draft + self.verify + self.control

    @property
    def control_share(self) -> float:
        """The controller's part of the round, shadow analysis included."""
        return self.control / self.round if self.round else 0.0


def split(rounds: Sequence[Round]) -> Split | None:
    """None where there is no round."""
    if not rounds:
        return None
    return Split(
        *(
            1e3 * sum(seconds) / len(rounds)
            for seconds in zip(
                *((r.draft_seconds, r.verify_seconds, r.control_seconds) for r in rounds),
                strict=True,
            )
        )
    )


def seconds(rounds: Iterable[Round]) -> float:
    """Of all phases."""
    return sum(r.draft_seconds + r.verify_seconds + r.control_seconds for r in rounds)


def tokens_per_second(statistics: Statistics) -> float | None:
    """Of the rounds' own time."""
    spent = seconds(statistics.rounds)
    return statistics.tokens / spent if spent else None


def etpl(statistics: Statistics) -> float | None:
    """None where there is no round."""
    return statistics.etpl or None


def segments(samples: Iterable[Sample], longest: int) -> list[Statistics]:
    """Rounds by the quarter of `longest` new tokens that their first token lies in."""
    found = list(samples)
    layers = found[0].record.statistics.num_layers if found else 0
    quarters = [Statistics(layers) for _ in range(SEGMENTS)]
    for start, one in chain.from_iterable(map(_placed, found)):
        quarters[min(SEGMENTS - 1, start * SEGMENTS // longest)].rounds.append(one)
    return quarters


def bounds(longest: int) -> list[tuple[int, int]]:
    """First and last new token of every segment, counted from 1."""
    edges = [-(-longest * i // SEGMENTS) for i in range(SEGMENTS + 1)]
    return [(start + 1, stop) for start, stop in pairwise(edges)]


def _placed(sample: Sample) -> Iterator[tuple[int, Round]]:
    """Every round with the index of its first token in the text; prefill made the one before."""
    start = 1
    for one in sample.record.statistics.rounds:
        yield start, one
        start += one.tokens


def over_rounds(samples: Sequence[Sample], value: Value) -> Curve:
    """`value` of all texts' rounds of a number, while at least half of the texts go on.

    Neighbouring rounds are taken together so that a curve has at most `POINTS` points.
    """
    texts = [sample.record.statistics.rounds for sample in samples]
    lengths = sorted(map(len, texts))
    end = lengths[len(lengths) // 2] if lengths else 0
    width = max(1, -(-end // POINTS))
    curve: Curve = ([], [])
    for start in range(0, end, width):
        stop = min(start + width, end)
        found = value([r for rounds in texts for r in rounds[start:stop]])
        if found is not None:
            curve[0].append((start + 1 + stop) / 2)
            curve[1].append(found)
    return curve


def mean_exit_layer(rounds: Sequence[Round]) -> float | None:
    """Over the rounds that drafted."""
    layers = [r.plan.exit_layer for r in rounds if r.drafted]
    return sum(layers) / len(layers) if layers else None


def mean_threshold(rounds: Sequence[Round]) -> float | None:
    """Over the rounds that had one."""
    found = [r.plan.threshold for r in rounds if r.plan.threshold is not None]
    return sum(found) / len(found) if found else None


def acceptance_rate(rounds: Sequence[Round]) -> float | None:
    """accepted / drafted; None where nothing was drafted."""
    drafted = sum(r.drafted for r in rounds)
    return sum(r.accepted for r in rounds) / drafted if drafted else None


def mean_drafted(rounds: Sequence[Round]) -> float | None:
    """Over all rounds, plain steps among them."""
    return sum(r.drafted for r in rounds) / len(rounds) if rounds else None
