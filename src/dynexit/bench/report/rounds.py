"""Rounds of one text or of many, and their totals.

They are stored as nine arrays, since a report may have half a million rounds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynexit import rates
from dynexit.decoding.statistics import SECONDS

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]
Curve = tuple[list[float], list[float]]  # round numbers from 1, values
Value = Callable[["Rounds"], float | None]

SECOND_MODELS = "second-model", "diffusion"  # drafters
SEGMENTS = 4
POINTS = 24  # of a curve over rounds, at most
_COUNTS = ("drafted", "accepted", "tokens")
_FRACTIONS = ("threshold", *SECONDS)


class Phases(NamedTuple):
    """Mean milliseconds of each phase of a round."""

    draft: float
    verify: float
    control: float
    text: float

    @property
    def round(self) -> float:
        """All phases together."""
        return sum(self)

    @property
    def shares(self) -> "Phases":
        """Each as a share of the round. The controller's has lookup and shadow analysis in it."""
        return Phases(*(part / self.round if self.round else 0.0 for part in self))


class Rows(NamedTuple):
    """Rows that passed layers and heads.

    Attributes:
        layers: of the target; a row counts once for every layer that it passes.
        draft_rows: rows that passed a second model, all of its layers each.
    """

    layers: int
    heads: int
    draft_rows: int = 0
    draft_heads: int = 0


@dataclass(frozen=True)
class Rounds:
    """Rounds as columns, [rounds] each. A rate over many texts is a micro-average.

    Attributes:
        exit_layer: 0 where nothing was drafted by the target's own layers.
        threshold: NaN where there was none.
        second: whether a second model drafted.
    """

    num_layers: int
    exit_layer: Ints
    drafted: Ints
    accepted: Ints
    tokens: Ints
    threshold: Floats
    draft_seconds: Floats
    verify_seconds: Floats
    control_seconds: Floats
    text_seconds: Floats
    second: NDArray[np.bool_]

    @classmethod
    def read(cls, stats: Mapping[str, Any]) -> "Rounds":
        """Read rounds from the output of `Statistics.as_dict`."""
        rows: Mapping[str, Sequence[Any]] = stats["round_records"]
        columns: dict[str, Any] = {name: np.array(rows[name], np.int32) for name in _COUNTS}
        columns |= {name: np.array(rows[name], np.float32) for name in _FRACTIONS}
        columns["exit_layer"] = np.array([layer or 0 for layer in rows["exit_layer"]], np.int32)
        columns["second"] = np.array([name in SECOND_MODELS for name in rows["drafter"]], np.bool_)
        return cls(stats["num_layers"], **columns)

    @classmethod
    def join(cls, parts: Iterable["Rounds"]) -> "Rounds":
        """Concatenate the rounds of one or more parts."""
        found = list(parts)
        columns = [part._columns() for part in found]
        joined: Any = {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}
        return replace(found[0], **joined)

    def pick(self, which: slice | NDArray[np.bool_]) -> "Rounds":
        """A selection of these rounds."""
        picked: Any = {name: column[which] for name, column in self._columns().items()}
        return replace(self, **picked)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def tokens_per_second(self) -> float | None:
        """Speed by the rounds' own time."""
        seconds = sum(_sum(getattr(self, name)) for name in SECONDS)
        return rates.tokens_per_second(_sum(self.tokens), seconds)

    @property
    def etpl(self) -> float | None:
        """Effective tokens per layer."""
        drafted_layers = _sum(self.exit_layer * self.drafted)
        return rates.etpl(_sum(self.tokens), drafted_layers, len(self), self.num_layers)

    @property
    def acceptance_rate(self) -> float | None:
        """Share of drafted tokens that were accepted."""
        return rates.acceptance_rate(_sum(self.accepted), _sum(self.drafted))

    @property
    def mean_acceptance_length(self) -> float | None:
        """Tokens per round."""
        return rates.mean_acceptance_length(_sum(self.accepted), len(self))

    @property
    def mean_exit_layer(self) -> float | None:
        """Mean over the rounds that drafted."""
        return _mean(self.exit_layer[self.drafted > 0])

    @property
    def mean_drafted(self) -> float | None:
        """Mean over all rounds, plain steps among them."""
        return _mean(self.drafted)

    @property
    def mean_rows(self) -> float | None:
        """Mean rows of a verification, the newest token's included."""
        return _mean(self.drafted + 1)

    @property
    def mean_threshold(self) -> float | None:
        """Mean over the rounds that had one."""
        return _mean(self.threshold[~np.isnan(self.threshold)])

    @property
    def phases(self) -> Phases | None:
        """Mean time of each phase; None without rounds."""
        means = [_mean(getattr(self, name)) for name in SECONDS]
        return Phases(*(1e3 * mean for mean in means if mean is not None)) if len(self) else None

    def rows(self, shadow: bool) -> Rows:
        """Rows that one text's rounds computed.

        Args:
            shadow: whether shadow tokens of every layer but the last were unembedded.
        """
        verified, drafted = _sum(self.drafted + 1), _sum(self.drafted)
        by_second = _sum(self.drafted[self.second])
        analysed = _sum(self.accepted + 1) * (self.num_layers - 1) if shadow else 0
        return Rows(
            layers=verified * self.num_layers,
            heads=verified + drafted - by_second + analysed,
            draft_rows=self._second_model_rows() if by_second else 0,
            draft_heads=by_second,
        )

    def _second_model_rows(self) -> int:
        """A draft reads all committed tokens that are unread, and each of its own but the last.

        Prefill leaves two unread: the prompt's last token and the first new one.
        """
        passed, unread = 0, 2
        for drafted, accepted in zip(self.drafted.tolist(), self.accepted.tolist(), strict=True):
            if not drafted:
                unread += 1
                continue
            passed += unread + drafted - 1
            unread = 2 if accepted == drafted else 1
        return passed

    def _columns(self) -> dict[str, NDArray[Any]]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "num_layers"}


def segments(texts: Sequence[Rounds], longest: int) -> list[Rounds]:
    """Rounds by the quarter of `longest` new tokens that their first token lies in."""
    # Prefill makes the token before a text's first round.
    starts = [1 + np.cumsum(one.tokens, dtype=np.int64) - one.tokens for one in texts]
    quarters = np.minimum(np.concatenate(starts) * SEGMENTS // longest, SEGMENTS - 1)
    joined = Rounds.join(texts)
    return [joined.pick(quarters == i) for i in range(SEGMENTS)]


def bounds(longest: int) -> list[tuple[int, int]]:
    """First and last new token of every segment, counted from 1."""
    edges = [-(-longest * i // SEGMENTS) for i in range(SEGMENTS + 1)]
    return [(start + 1, stop) for start, stop in pairwise(edges)]


def over_rounds(texts: Sequence[Rounds], value: Value) -> Curve:
    """`value` of all texts' rounds of a number, while at least half of the texts go on.

    Neighbouring rounds are taken together so that a curve has at most `POINTS` points.
    """
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


def _sum(column: NDArray[Any]) -> Any:
    """The sum as a Python number, which cannot overflow."""
    return column.sum(dtype=np.float64 if column.dtype.kind == "f" else np.int64).item()


def _mean(column: NDArray[Any]) -> float | None:
    return float(column.mean(dtype=np.float64)) if len(column) else None
