"""GSM8K: word problems of grade-school arithmetic; an answer ends in "#### " and a number."""

import re
from decimal import Decimal
from typing import Any

from dynexit.tasks.base import Task, Template, before
from dynexit.tasks.rows import Hub, Row

MARK = "####"
# A minus after a digit, a letter or a closing bracket subtracts; it is no sign.
NUMBER = re.compile(
    r"(?:(?<![\w)\]])-)?\$?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
)


class Gsm8k(Task):
    """exact_match: 1.0 where the number is the reference's, however it is written."""

    name = "gsm8k"
    hub = Hub("openai/gsm8k", "main", "test")
    file = "gsm8k_test"
    fields = ("question", "answer")

    def question(self, row: Row, template: Template) -> str:
        """The published prompt, which has a cue."""
        return f"Question: {row['question']}\nAnswer:"

    def answer(self, row: Row) -> str:
        """The worked solution, as the data set has it."""
        return f" {row['answer']}"

    def reference(self, row: Row) -> str:
        """The number after the mark."""
        return str(final_number(row["answer"].partition(MARK)[2]))

    def fault(self, row: Row) -> str | None:
        """Also an answer without its number."""
        fault = super().fault(row)
        if fault is None and final_number(row["answer"].partition(MARK)[2]) is None:
            return f"has no number after {MARK!r}"
        return fault

    def grade(self, text: str, reference: Any) -> dict[str, float]:
        """Compares numbers, not digits: 18, 18.00 and $18 are one."""
        return {"exact_match": float(final_number(text) == Decimal(reference))}


def final_number(text: str) -> Decimal | None:
    """The number after "####", else the last one, in the first answer of `text`."""
    working, _, final = before(text, "Question:").partition(MARK)
    found = NUMBER.findall(final)[:1] or NUMBER.findall(working)[-1:]
    return Decimal(re.sub("[,$]", "", found[0])) if found else None


TASK = Gsm8k
