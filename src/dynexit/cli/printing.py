"""How commands print. Text of users and models is never markup: it enters a pipe as it is.

Not responsible for what is said.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from dynexit.errors import CLOSED, DynexitError, reason

FULL_WIDTH = 10_000  # of what is no terminal: no table is cut off there


def _console(stderr: bool = False) -> Console:
    made = Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = FULL_WIDTH
    return made


_output, notes = _console(), _console(stderr=True)


def accept_any_text() -> None:
    """Escape characters that the streams cannot encode, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # None where the shell has closed it
            stream.reconfigure(errors="backslashreplace")


def write(text: str, style: str = "") -> None:
    """Text of a user or a model, without a newline after it."""
    with _writing():
        if _output.is_terminal:
            _output.print(Text(text, style=style), end="")
        else:
            _output.file.write(text)
            _output.file.flush()


def say(*parts: str | Text) -> None:
    """A line on standard output."""
    with _writing():
        _output.print(*parts, sep="")


def screen() -> Console:
    """A console for what is drawn anew and again; it breaks lines between words."""
    return Console(highlight=False, markup=False, emoji=False)


def print_table(table: Table) -> None:
    """A table on standard output. On a narrow terminal it has no lines, then its cells fold."""
    wide = _output.options.update(max_width=FULL_WIDTH)
    if Measurement.get(_output, wide, table).maximum > _output.width:
        table.box, table.padding = None, (0, 1, 0, 0)
    if Measurement.get(_output, wide, table).minimum > _output.width:
        for column in table.columns:
            column.overflow, column.min_width = "fold", None
    with _writing():
        _output.print(table, soft_wrap=False)


def print_json(value: Any) -> None:
    """One line of JSON on standard output."""
    write(json.dumps(value, ensure_ascii=not speaks_unicode()) + "\n")


def speaks_unicode() -> bool:
    """Whether standard output takes every character."""
    return not _output.options.ascii_only


def output_width() -> int:
    """Columns of standard output."""
    return _output.width


def is_coloured() -> bool:
    """Whether what is written has colours, and what is noted, too."""
    return all(one.is_terminal and one.color_system for one in (_output, notes))


def note(label: str, style: str, sentence: str) -> None:
    """A sentence on standard error, after a coloured word."""
    notes.print(Text.assemble((label, style), " ", sentence))


def finish() -> None:
    """Hand everything on standard output to the system."""
    with _writing():
        _output.file.flush()


@contextmanager
def _writing() -> Iterator[None]:
    """Raises DynexitError where standard output takes no more: a full disk, for example.

    A pipe whose reader has gone ends the command.
    """
    try:
        yield
    except BrokenPipeError:
        _let_go()
        sys.exit(CLOSED)
    except OSError as error:
        _let_go()
        raise DynexitError(f"cannot write standard output: {reason(error)}.") from error


def _let_go() -> None:
    """Discard all further output: buffered text would fail again when Python exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
