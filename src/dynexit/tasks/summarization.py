"""What both summarisation benchmarks share: the published prompt, and ROUGE."""

from typing import Any, ClassVar

from dynexit.tasks.base import Task, Template, before
from dynexit.tasks.rouge import rouge
from dynexit.tasks.rows import Row


class Summarization(Task):
    """rouge1, rouge2 and rougeL of a summary against the one that people wrote.

    Attributes:
        article: the field that holds the text.
        summary: the field that holds its summary.
    """

    article: ClassVar[str]
    summary: ClassVar[str]

    def question(self, row: Row, template: Template) -> str:
        """The published prompt, which has a cue."""
        return f"Article: {row[self.article]}\nSummary:"

    def answer(self, row: Row) -> str:
        """The summary."""
        return f" {row[self.summary]}"

    def reference(self, row: Row) -> str:
        """The summary."""
        return str(row[self.summary])

    def grade(self, text: str, reference: Any) -> dict[str, float]:
        """Compares what stands before a next article."""
        return rouge(before(text, "Article:"), reference)
