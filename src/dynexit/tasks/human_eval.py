"""HumanEval: Python functions to be written from their docstrings, scored by running tests."""

import re
from typing import Any

from dynexit.tasks.base import Task, Template
from dynexit.tasks.code_execution import passes
from dynexit.tasks.rows import Hub, Row

# A line that starts at the margin: def, class, if, print, a comment, an explanation. A closing
# bracket ends what the function's own lines began.
TOP_LEVEL = re.compile(r"\n(?=[^\s)\]}])")


class HumanEval(Task):
    """pass@1: 1.0 where the tests pass, of one text for each problem.

    There are no scores unless code execution was allowed when the task was made.
    """

    name = "human_eval"
    hub = Hub("openai/openai_humaneval", "openai_humaneval", "test")
    file = "HumanEval"
    fields = ("task_id", "prompt", "canonical_solution", "test", "entry_point")

    def question(self, row: Row, template: Template) -> str:
        """The function's head and docstring, which need no cue."""
        return str(row["prompt"])

    def answer(self, row: Row) -> str:
        """The solution."""
        return str(row["canonical_solution"])

    def reference(self, row: Row) -> dict[str, str]:
        """What the tests need beside the generated text."""
        return {field: row[field] for field in ("prompt", "test", "entry_point")}

    def id_of(self, row: Row, index: int) -> str:
        """The problem's own: "HumanEval/3"."""
        return str(row["task_id"])

    def grade(self, text: str, reference: Any) -> dict[str, float]:
        """Runs the function's tests, if that was allowed."""
        if not self.allow_code_execution:
            return {}
        return {"pass@1": float(passes(program(text, reference)))}


def program(text: str, reference: dict[str, str]) -> str:
    """The function that `text` completes, and its tests."""
    body = TOP_LEVEL.split(text, maxsplit=1)[0]
    check = f"check({reference['entry_point']})"
    return "\n".join([reference["prompt"] + body, reference["test"], check, ""])


TASK = HumanEval
