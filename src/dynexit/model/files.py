"""Files that are whole or not there at all.

Not responsible for a benchmark's file, which grows by lines (`bench/journal.py`).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        DynexitError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DynexitError(f"cannot make the folder {folder}: {reason(error)}.") from error
