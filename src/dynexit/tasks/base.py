"""What all benchmarks share: choosing rows, building prompts, averaging scores.

Not responsible for reading rows (`rows.py`). A *worked example* is a question with its answer;
`shots` of them come before every question and are never asked themselves. The *cue* is the end of a
prompt that asks for the answer, such as "Answer:".
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar, Literal, cast, get_args

from dynexit.errors import DynexitError
from dynexit.tasks.rows import Hub, Row, Rows, read_folder, read_hub

Template = Literal["del", "cue"]

TEMPLATES = get_args(Template)


@dataclass(frozen=True)
class Example:
    """One question of a benchmark.

    Attributes:
        id: a stable name: the row's own id, or the task's name with the row's index (from 0) in
            the unshuffled data, such as "gsm8k-17".
        prompt: the whole prompt.
        reference: what `Task.score` compares an answer with, as plain JSON values; None if the
            task has no answers.
        turns: the user's messages of a conversation up to this question; the model writes the
            answers between them. Empty for a single prompt. A model without a chat template gets
            `prompt` as text.
        category: a name for rows that are reported together; "" if there is none.
    """

    id: str
    prompt: str
    reference: Any
    turns: tuple[str, ...] = ()
    category: str = ""

    @property
    def content(self) -> str:
        """A hash of question and reference: it changes when a row is edited, an id may not."""
        asked = [self.prompt, self.reference, *([self.turns] if self.turns else [])]
        told = json.dumps(asked, sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


class Task:
    """A benchmark. A subclass defines where its rows are, how prompts are built and how answers are
    scored.

    Attributes:
        name: the task's name on the command line.
        hub: where its rows are on the hub.
        file: name of a local file of its rows, without a suffix.
        fields: text fields that a row must have; a dot leads into a nested object.
        default_shots: default number of worked examples.
        own_shots: the task's own worked examples, used instead of rows.
        has_answers: whether rows have answers; if not, there are no worked examples and no scores.
    """

    name: str
    hub: ClassVar[Hub]
    file: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]
    default_shots: ClassVar[int] = 0
    own_shots: ClassVar[tuple[str, ...]] = ()
    has_answers: ClassVar[bool] = True

    def __init__(self, allow_code_execution: bool = False) -> None:
        self.allow_code_execution = allow_code_execution

    # For subclasses to define.

    def question(self, row: Row, template: Template) -> str:
        """The prompt of one row. "del" is the published prompt; "cue" always ends in a cue."""
        raise NotImplementedError

    def answer(self, row: Row) -> str:
        """The answer that follows the cue in a worked example, with its leading space."""
        raise NotImplementedError

    def reference(self, row: Row) -> Any:
        """The reference for `grade`; None if the row has no answer."""
        raise NotImplementedError

    def grade(self, text: str, reference: Any) -> dict[str, float]:
        """Scores of a generated text; `reference` is not None."""
        raise NotImplementedError

    def preamble(self, template: Template) -> str:
        """Text that comes once, before everything else."""
        return ""

    def fault(self, row: Row) -> str | None:
        """Why `row` cannot be used, worded to follow "row 3"; None if it can."""
        missing = (field for field in self.fields if not isinstance(_look_up(row, field), str))
        return next((f"has no field {field!r} that is text" for field in missing), None)

    def id_of(self, row: Row, index: int) -> str:
        """The row's own id, or one made from its index in the unshuffled data."""
        return f"{self.name}-{index}"

    # For the rest of the package to call.

    def rows(self, data_dir: Path | None) -> Rows:
        """All rows, from `data_dir` or, where it is None, from the hub.

        Raises:
            DynexitError: the rows cannot be read.
        """
        return read_hub(self.hub) if data_dir is None else read_folder(data_dir, self.file)

    def check(self, num_samples: int | None, shots: int | None, template: str) -> None:
        """Raises DynexitError for a request that no data can fulfil."""
        if num_samples is not None and num_samples < 1:
            raise DynexitError(f"the number of samples must be 1 or more, not {num_samples}.")
        if shots is not None and shots < 0:
            raise DynexitError(f"the number of shots must be 0 or more, not {shots}.")
        if shots and not self.has_answers:
            raise DynexitError(f"{self.name} has no answers for worked examples: use 0 shots.")
        if template not in TEMPLATES:
            raise DynexitError(
                f"template {template!r} does not exist: use {' or '.join(TEMPLATES)}."
            )

    def examples(
        self, rows: Rows, num_samples: int | None, shots: int | None, template: str, seed: int
    ) -> list[Example]:
        """The examples, in an order that depends only on `seed` and the rows' indices.

        Args:
            num_samples: examples, at most; None is all.
            shots: worked examples before each question; None is the task's default. They are the
                first rows in that order, unless the task has its own.
            template: see `question`.

        Raises:
            DynexitError: `rows` cannot fulfil the request, or a row lacks a field.
        """
        self.check(num_samples, shots, template)
        order = shuffled(len(rows), seed)
        worked, asked = self._split(rows, order, self.default_shots if shots is None else shots)
        chosen = cast(Template, template)
        opening = self.preamble(chosen) + "".join(f"{text}\n\n" for text in worked)
        found = [e for i in asked[:num_samples] for e in self.of_row(rows, i, opening, chosen)]
        self._check_ids(found)
        return found

    def score(self, text: str, reference: Any) -> dict[str, float]:
        """One text's scores by name; empty without a reference."""
        return {} if reference is None else self.grade(text, reference)

    def score_all(self, texts: Sequence[str], references: Sequence[Any]) -> dict[str, float]:
        """Scores over all texts: means of `score`, unless the metric is defined over a corpus."""
        pairs = zip(texts, references, strict=True)
        scores = [found for text, reference in pairs if (found := self.score(text, reference))]
        return {name: fmean(s[name] for s in scores) for name in (scores[0] if scores else ())}

    def _split(
        self, rows: Rows, order: Sequence[int], shots: int
    ) -> tuple[Sequence[str], Sequence[int]]:
        """The worked examples, and the indices of the rows left to ask."""
        if not order:
            raise DynexitError(f"{self.name}: the data has no rows.")
        available = len(self.own_shots) or len(order) - 1
        if shots > available:
            raise DynexitError(f"{self.name}: {shots} shots were asked for: there are {available}.")
        if self.own_shots:
            return self.own_shots[:shots], order
        return [self._worked(self._row(rows, i)) for i in order[:shots]], order[shots:]

    def _worked(self, row: Row) -> str:
        return self.question(row, "cue") + self.answer(row)

    def of_row(self, rows: Rows, index: int, opening: str, template: Template) -> Sequence[Example]:
        """The examples of one row, after `opening`: one, except for conversations."""
        row = self._row(rows, index)
        prompt = opening + self.question(row, template)
        return [Example(self.id_of(row, index), prompt, self.reference(row))]

    def _row(self, rows: Rows, index: int) -> Row:
        row = rows[index]
        fault = self.fault(row)
        if fault is not None:
            raise DynexitError(f"{self.name}: row {index + 1} of the data {fault}.")
        return row

    def _check_ids(self, examples: Iterable[Example]) -> None:
        seen: set[str] = set()
        for example in examples:
            if example.id in seen:
                raise DynexitError(f"{self.name}: the id {example.id!r} occurs twice in the data.")
            seen.add(example.id)


def shuffled(count: int, seed: int) -> list[int]:
    """The indices below `count` in an order that never changes between machines or versions."""

    def key(index: int) -> bytes:
        return hashlib.sha256(f"{seed}/{index}".encode()).digest()

    return sorted(range(count), key=key)


def before(text: str, mark: str) -> str:
    """`text` up to `mark`: a base model continues past its answer with an invented next example."""
    return re.split(rf"\b{re.escape(mark)}", text, maxsplit=1)[0]


def _look_up(row: Row, field: str) -> Any:
    value: Any = row
    for key in field.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
