"""Options of a benchmark. Each of them affects a text or its timing."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynexit.model.places import BUNDLED
from dynexit.tasks.base import Example

TABLE_1 = ("vanilla", "layerskip", "finite-state", "draft-verify", "del")


@dataclass(frozen=True)
class Options:
    """The options of one benchmark. A file of records belongs to exactly one set of options.

    Attributes:
        models: checkpoint folders or hub ids; "bundled" is the model that comes with dynexit.
        methods: method names with settings, vanilla first.
        num_samples: examples per task; None is all of them.
        shots: worked examples before every prompt; None is the task's default.
        runtime: native, graphs or eager; None is the first that works.
    """

    models: tuple[str, ...] = (BUNDLED.name,)
    tasks: tuple[str, ...] = ()
    methods: tuple[str, ...] = TABLE_1
    data_dir: str | None = None
    num_samples: int | None = None
    shots: int | None = None
    template: str = "del"
    max_new_tokens: int = 512
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    dtype: str | None = None
    device: str | None = None
    threads: int | None = None
    runtime: str | None = None
    draft_model: str | None = None
    allow_code_execution: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as stored in a record."""
        values = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @property
    def folder(self) -> Path | None:
        """The folder that rows are read from; None is the hub."""
        return None if self.data_dir is None else Path(self.data_dir)


@dataclass(frozen=True)
class Shard:
    """Examples of one task for one model: the unit of work of a worker."""

    model: str
    task: str
    examples: tuple[Example, ...]
    done: frozenset[tuple[str, str]] = frozenset()  # (example, method) already recorded
    conditions: dict[str, Any] = field(
        default_factory=dict
    )  # of the records in `done`; see `records.conditions`
