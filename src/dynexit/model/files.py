"""Writes files completely or not at all, and journals, which grow by whole lines."""

import fcntl
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


class Lines:
    """A journal: a file that grows by whole lines, which no other process may write meanwhile.

    Attributes:
        lines: what was there when it was opened, without an unfinished last line.

    Raises:
        DynexitError: it cannot be written, or is in use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise DynexitError(f"cannot write {path}: {reason(error)}.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise DynexitError(
                f"{path} is being written by another run: wait for it to end."
            ) from error
        self._file.seek(0)
        whole, newline, _ = self._file.read().rpartition(b"\n")
        self._end = len(whole) + len(newline)
        self.lines = [line.decode(errors="replace") for line in whole.splitlines() if newline]

    def cut(self) -> None:
        """Cut off an unfinished last line, which a kill has left."""
        self._file.truncate(self._end)

    def append(self, line: str) -> None:
        """Write the next line and hand it to the system: a kill loses at most this one.

        Raises:
            DynexitError: there is no room for it; the file holds all lines before it.
        """
        end, left = self._file.seek(0, os.SEEK_END), line.encode()
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._file.truncate(end)
            raise DynexitError(
                f"cannot write {self.path}: {reason(error)}; the same command continues from there."
            ) from error

    def close(self) -> None:
        """Let others write. A file without a line is removed."""
        if not os.fstat(self._file.fileno()).st_size:
            self.path.unlink(missing_ok=True)
        self._file.close()
