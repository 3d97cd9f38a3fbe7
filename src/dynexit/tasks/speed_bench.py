"""SPEED-Bench, the qualitative split: conversations of eleven categories. It has no answers.

Each turn is one example, asked with the model's own answers to the turns before it. More than half
of the rows on the hub are placeholders for other data sets' text, whose licences forbid copies;
`prepare_data.py` of NVIDIA's Model-Optimizer (examples/specdec_bench) fills them in. A local file
of such rows, or of Spec-Bench's, which have the same fields, is `speed_bench.jsonl` or `.parquet`.
"""

from collections.abc import Sequence
from typing import Any

from dynexit.tasks.base import Example, Task, Template
from dynexit.tasks.rows import Hub, Row, Rows

PLACEHOLDER = "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE"


class SpeedBench(Task):
    """No scores: what counts is speed, category by category."""

    name = "speed_bench"
    hub = Hub("nvidia/SPEED-Bench", "qualitative", "test")
    file = "speed_bench"
    fields = ("category",)
    has_answers = False

    def question(self, row: Row, template: Template) -> str:
        """All turns, as one text."""
        return "\n\n".join(row["turns"])

    def reference(self, row: Row) -> None:
        """There is none."""

    def id_of(self, row: Row, index: int) -> str:
        """The question's id."""
        return str(row["question_id"])

    def of_row(self, rows: Rows, index: int, opening: str, template: Template) -> Sequence[Example]:
        """One for each turn: "81" where it is the only one, else "81.1", "81.2", ..."""
        row = self._row(rows, index)
        turns, own = tuple(row["turns"]), self.id_of(row, index)
        return [
            Example(
                own if len(turns) == 1 else f"{own}.{count}",
                "\n\n".join(turns[:count]),
                None,
                turns[:count],
                row["category"],
            )
            for count in range(1, len(turns) + 1)
        ]

    def fault(self, row: Row) -> str | None:
        """Also turns or an id of another kind, and placeholders."""
        turns: Any = row.get("turns")
        texts = isinstance(turns, Sequence) and not isinstance(turns, str)
        if not (texts and turns and all(isinstance(turn, str) and turn for turn in turns)):
            return "has no field 'turns' that is a list of texts"
        if not isinstance(row.get("question_id"), str | int):
            return "has no field 'question_id' that is text or a number"
        if any(PLACEHOLDER in turn for turn in turns):
            return (
                "is a placeholder for text of another data set: fill it in by SPEED-Bench's own "
                "prepare_data.py, and give the folder of the file speed_bench.jsonl as --data-dir"
            )
        return super().fault(row)


TASK = SpeedBench
