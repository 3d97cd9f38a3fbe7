"""Records of a benchmark: one JSON line per (model, task, example, method).

Every line is self-contained: it has options, versions, machine and seed. Files may be
concatenated, and a killed run continues from its file. Of two lines with the same key, the later
one counts.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynexit.bench.statistics import check_statistics
from dynexit.errors import DynexitError, reason
from dynexit.plain import build, parse_json

Key = tuple[str, str, str, str, str]
CONDITIONS = ("dtype", "device", "runtime", "threads")  # of a record's environment


@dataclass
class Record:
    """One generation, or the reason why there is none.

    Attributes:
        method: as it was asked for, with its settings: "layerskip:exit_layer=5".
        example: the example's id within its task.
        stats: `Statistics.as_dict()` of the generation; prefill and decoding are timed apart.
        scores: this text's own scores, such as {"exact_match": 1.0}; empty without a reference.
        peak_memory: bytes that the process (or the CUDA device) held at most during it.
        shape: num_layers, layer_parameters, head_parameters and parameters; where a second model
            drafted, its own with "draft_" before each name.
        options: everything that was asked for and decides the text or its timing.
        environment: versions, machine, and the run that it comes from (`provenance.py`).
        error: why the example failed; then everything about its text is empty.
        prompt: `Example.content`, so that a record belongs to what was asked and not to its place.
        checkpoint: `fingerprint` of the weights.
        gone: the task no longer has this prompt. An older record of it does not count.
        category: the example's, within its task.
    """

    model: str
    task: str
    example: str
    method: str
    prompt_tokens: int = 0
    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    reference: Any = None
    finish_reason: str | None = None
    stats: dict[str, Any] | None = None
    scores: dict[str, float] = field(default_factory=dict)
    peak_memory: int = 0
    shape: dict[str, int] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    prompt: str = ""
    checkpoint: str = ""
    gone: bool = False
    category: str = ""

    @property
    def key(self) -> Key:
        """What a file holds once."""
        return self.model, self.task, self.example, self.method, self.prompt

    def as_line(self) -> str:
        """One line of JSON, ending in a newline; half a character is spelled in ASCII."""
        line = json.dumps(dataclasses.asdict(self), ensure_ascii=False) + "\n"
        return line.encode(errors="backslashreplace").decode()


def conditions(record: Record) -> dict[str, Any]:
    """What must be equal for records of one model to stand in one file."""
    found = {name: record.environment.get(name) for name in CONDITIONS}
    return {**found, "checkpoint": record.checkpoint}


def read_records(files: Iterable[Path]) -> Iterator[Record]:
    """All records of these files, in order.

    Raises:
        DynexitError: a file that cannot be read, or a line that is no record.
    """
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DynexitError(f"cannot read {file}: {reason(error)}.") from error
        if lines == [""]:
            raise DynexitError(f"{file} is empty: the benchmark was stopped before its first text.")
        yield from (parse_record(line, f"{file}, line {i}") for i, line in enumerate(lines, 1))


def parse_record(line: str, where: str) -> Record:
    """Raises DynexitError where `line` is not a record; `where` names it."""
    try:
        record = build(Record, parse_json(line, "it"), "it")
        if record.token_ids and not 0 <= min(record.token_ids) <= max(record.token_ids) < 2**31:
            raise DynexitError("token_ids has a number that is not a token id.")
        if record.stats is not None:
            check_statistics(record.stats)
        return record
    except DynexitError as error:
        raise DynexitError(f"{where} is not a record of `dynexit bench`: {error}") from error
