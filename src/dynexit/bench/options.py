"""What a benchmark is asked for. Everything here decides a text or its timing."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynexit.model.places import BUNDLED
from dynexit.tasks.base import Example

TABLE_1 = ("vanilla", "layerskip", "finite-state", "draft-verify", "del")


@dataclass(frozen=True)
class Options:
    """One benchmark. A file of records belongs to exactly one of these.

    Attributes:
        models: checkpoint folders or hub ids; "bundled" is the model that comes with dynexit.
        methods: with their settings in the name, vanilla first.
        num_samples: examples per task; None is all of them.
        shots: worked examples before every prompt; None is the task's own number.
        runtime: native, graphs or eager; None is the first that is possible.
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
        """Plain values, as a record holds them."""
        values = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @property
    def folder(self) -> Path | None:
        """Where rows are read; None is the hub."""
        return None if self.data_dir is None else Path(self.data_dir)


@dataclass(frozen=True)
class Shard:
    """Examples of one task for one model: what a worker does in one go."""

    model: str
    task: str
    examples: tuple[Example, ...]
    done: frozenset[tuple[str, str]] = frozenset()  # (example, method) that are recorded already
    conditions: dict[str, Any] = field(default_factory=dict)  # of those; see `records.conditions`
