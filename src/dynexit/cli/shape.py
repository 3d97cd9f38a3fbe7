"""What a text must look like, as options of a command."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynexit.errors import DynexitError, reason

if TYPE_CHECKING:
    from dynexit.decoding.constraint import Constraint


@dataclass(frozen=True)
class Shape:
    """A constraint on the text, as options: at most one of them."""

    json_schema: Annotated[
        Path | None, typer.Option(help="The text is JSON that fits the schema in this file.")
    ] = None
    regex: Annotated[str | None, typer.Option(help="The text matches this regular expression.")] = (
        None
    )
    grammar: Annotated[
        Path | None, typer.Option(help="The text follows the grammar (Lark or GBNF) in this file.")
    ] = None

    @property
    def constraint(self) -> "Constraint | None":
        """The constraint that was given; None if there is none.

        Raises:
            DynexitError: two were given, or a file cannot be read.
        """
        from dynexit.decoding.constraint import Constraint

        given = [name for name, value in vars(self).items() if value is not None]
        if len(given) > 1:
            options = [f"--{name.replace('_', '-')}" for name in given]
            raise DynexitError(f"{' and '.join(options)} both constrain the text: give only one.")
        if self.json_schema is not None:
            return Constraint.json(_read(self.json_schema))
        if self.grammar is not None:
            return Constraint.grammar(_read(self.grammar))
        return None if self.regex is None else Constraint.regex(self.regex)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DynexitError(f"cannot read {file}: {reason(error)}.") from error
