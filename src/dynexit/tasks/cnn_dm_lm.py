"""CNN/DailyMail as free text: an article is continued from its first words."""

from typing import Any

from dynexit.tasks.base import Task, Template
from dynexit.tasks.rouge import rouge
from dynexit.tasks.rows import Hub, Row

WORDS = 100


class CnnDmLm(Task):
    """rouge1, rouge2 and rougeL of the text against the rest of the article."""

    name = "cnn_dm_lm"
    hub = Hub("abisee/cnn_dailymail", "3.0.0", "test")
    file = "cnn_dailymail_test"
    fields = ("article",)

    def question(self, row: Row, template: Template) -> str:
        """The first 100 words; nothing is asked, so there is no cue."""
        return " ".join(row["article"].split()[:WORDS])

    def answer(self, row: Row) -> str:
        """The rest of the article."""
        return f" {self.reference(row) or ''}".rstrip()

    def reference(self, row: Row) -> str | None:
        """The rest of the article, if there is any."""
        return " ".join(row["article"].split()[WORDS:]) or None

    def grade(self, text: str, reference: Any) -> dict[str, float]:
        """Compares the whole text."""
        return rouge(text, reference)


TASK = CnnDmLm
