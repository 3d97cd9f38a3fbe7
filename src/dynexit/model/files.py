"""Writes files completely or not at all, and journals, which grow by whole lines."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from dynexit.errors import DynexitError, reason


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A name beside `file` to write to. What is there at the end takes the place of `file`.

    Raises:
        DynexitError: it cannot be written; then `file` is as it was, and nothing lies beside it.
    """
    partial = file.with_name(f"{file.name}.partial")
    try:
        yield partial
        partial.replace(file)
    except Exception as error:  # libraries that write have errors of their own
        raise DynexitError(f"cannot write {file}: {reason(error)}.") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def cache_folder(name: str) -> Path:
    """A folder of this name in `DYNEXIT_CACHE`, or in the user's cache; it may not be there."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("DYNEXIT_CACHE") or base / "dynexit") / name


def state_folder() -> Path:
    """Where what a user typed is kept between runs; it may not be there."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "dynexit"


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        DynexitError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DynexitError(f"cannot make the folder {folder}: {reason(error)}.") from error


def append_line(file: FileIO, path: Path, line: bytes) -> None:
    """Write a journal's next line and hand it to the system: a kill loses at most this one.

    Raises:
        DynexitError: there is no room for it; the file holds all lines before it.
    """
    end = file.seek(0, os.SEEK_END)
    try:
        while line:
            line = line[file.write(line) :]
    except OSError as error:
        file.truncate(end)
        raise DynexitError(
            f"cannot write {path}: {reason(error)}; the same command continues from there."
        ) from error
