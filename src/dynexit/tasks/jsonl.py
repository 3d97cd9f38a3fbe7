"""A user's own prompts: objects with "prompt" and, if wanted, "reference" and "id"."""

from pathlib import Path
from typing import Any

from dynexit.errors import DynexitError
from dynexit.tasks.base import Task, Template
from dynexit.tasks.rows import Row, Rows, read_file


class JsonLines(Task):
    """exact_match: 1.0 where the text is the reference, apart from space around it."""

    fields = ("prompt",)

    def __init__(self, file: str) -> None:
        super().__init__()
        self.name = f"jsonl:{file}"
        self.path = Path(file).expanduser()

    def rows(self, data_dir: Path | None) -> Rows:
        """All rows of the user's file, wherever the other tasks' data is."""
        return read_file(self.path)

    def question(self, row: Row, template: Template) -> str:
        """The prompt as it stands."""
        return str(row["prompt"])

    def answer(self, row: Row) -> str:
        """The reference, as it follows the prompt."""
        reference = self.reference(row)
        if reference is None:
            raise DynexitError(f"{self.name}: a worked example needs a field 'reference'.")
        return reference

    def reference(self, row: Row) -> str | None:
        """The reference, if there is one."""
        return row.get("reference")

    def id_of(self, row: Row, index: int) -> str:
        """The row's own, or one made of the file's name and the row's index."""
        found = row.get("id")
        return f"{self.path.name.partition('.')[0]}-{index}" if found is None else str(found)

    def grade(self, text: str, reference: Any) -> dict[str, float]:
        """Compares the whole text."""
        return {"exact_match": float(text.strip() == reference.strip())}

    def fault(self, row: Row) -> str | None:
        """Also a reference or an id of another kind."""
        if not isinstance(row.get("reference"), str | None):
            return "has a 'reference' that is not text"
        if not isinstance(row.get("id"), str | int | None):
            return "has an 'id' that is neither text nor a number"
        return super().fault(row)
