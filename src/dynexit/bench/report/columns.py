"""Rounds as columns: half a million of them are nine arrays, not half a million objects."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynexit.decoding.records import SECONDS

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]

SECOND_MODEL = "second-model"
_COUNTS = ("drafted", "accepted", "tokens")
_FRACTIONS = ("threshold", *SECONDS)


@dataclass(frozen=True)
class Rounds:
    """Rounds of one text or of many: a column for each number, [rounds].

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
        """Of what `Statistics.as_dict` has written."""
        rows: Mapping[str, Sequence[Any]] = stats["round_records"]
        columns: dict[str, Any] = {name: np.array(rows[name], np.int32) for name in _COUNTS}
        columns |= {name: np.array(rows[name], np.float32) for name in _FRACTIONS}
        columns["exit_layer"] = np.array([layer or 0 for layer in rows["exit_layer"]], np.int32)
        columns["second"] = np.array([name == SECOND_MODEL for name in rows["drafter"]], np.bool_)
        if len(set(map(len, columns.values()))) > 1:
            raise ValueError("columns of several lengths")
        return cls(stats["num_layers"], **columns)

    @classmethod
    def join(cls, parts: Iterable["Rounds"]) -> "Rounds":
        """All of them in a row; at least one part."""
        found = list(parts)
        columns = [part._columns() for part in found]
        joined: Any = {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}
        return replace(found[0], **joined)

    def pick(self, which: slice | NDArray[np.bool_]) -> "Rounds":
        """Some of them."""
        picked: Any = {name: column[which] for name, column in self._columns().items()}
        return replace(self, **picked)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def seconds(self) -> float:
        """Of all phases of all rounds."""
        phases = (getattr(self, name) for name in SECONDS)
        return float(sum(phase.sum(dtype=np.float64) for phase in phases))

    @property
    def tokens_per_second(self) -> float | None:
        """Of the rounds' own time."""
        return self.tokens.sum() / self.seconds if self.seconds else None

    @property
    def etpl(self) -> float | None:
        """Tokens per layer loaded: tokens / sum of (E * d + L)."""
        loaded = (self.exit_layer * self.drafted + self.num_layers).sum()
        return float(self.tokens.sum() / loaded) if loaded else None

    @property
    def acceptance_rate(self) -> float | None:
        """accepted / drafted."""
        drafted = self.drafted.sum()
        return float(self.accepted.sum() / drafted) if drafted else None

    @property
    def mean_acceptance_length(self) -> float | None:
        """1 + accepted / rounds."""
        return 1 + float(self.accepted.mean()) if len(self) else None

    @property
    def mean_exit_layer(self) -> float | None:
        """Over the rounds that drafted."""
        layers = self.exit_layer[self.drafted > 0]
        return float(layers.mean()) if len(layers) else None

    @property
    def mean_drafted(self) -> float | None:
        """Over all rounds, plain steps among them."""
        return float(self.drafted.mean()) if len(self) else None

    @property
    def mean_threshold(self) -> float | None:
        """Over the rounds that had one."""
        found = self.threshold[~np.isnan(self.threshold)]
        return float(found.mean(dtype=np.float64)) if len(found) else None

    def _columns(self) -> dict[str, NDArray[Any]]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "num_layers"}
