"""The file of a benchmark: appended to, never rewritten, and safe to continue."""

import fcntl
import os
from collections.abc import Collection
from pathlib import Path
from types import TracebackType

from dynexit.bench.options import Options
from dynexit.bench.records import Key, Record, parse_record
from dynexit.errors import DynexitError, reason
from dynexit.model.files import append_line


class Journal:
    """Records of one benchmark in one file, which no other process may write meanwhile.

    Raises:
        DynexitError: the file cannot be written, is in use, or belongs to other options.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self.path, self._options = path, options.as_dict()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise DynexitError(f"cannot write {path}: {reason(error)}.") from error
        try:
            self._lock()
            self.done: dict[Key, Record] = self._read()
        except DynexitError:
            self._file.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        empty = not os.fstat(self._file.fileno()).st_size
        if empty:  # stopped before the first record
            self.path.unlink(missing_ok=True)
        self._file.close()

    def append(self, record: Record) -> None:
        """Write one line and hand it to the system, so that a kill loses at most the next one.

        Raises:
            DynexitError: there is no room for it; the file holds all lines before it.
        """
        append_line(self._file, self.path, record.as_line().encode())
        self.done[record.key] = record

    def set_aside(self, wanted: Collection[Key]) -> int:
        """Write down, once, which records are of prompts that are gone: no table counts them.

        Returns:
            How many there are. They are no longer in `done`.
        """
        count = 0
        for key, record in list(self.done.items()):
            if key not in wanted:
                count += 1
                if not record.gone:
                    self.append(_gone(record))
            if key not in wanted or record.gone:
                del self.done[key]
        return count

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DynexitError(
                f"{self.path} is being written by another run: wait for it to end."
            ) from error

    def _read(self) -> dict[Key, Record]:
        """What is there. A last line without an end was torn by a kill: it is cut off."""
        self._file.seek(0)
        whole, newline, torn = self._file.read().rpartition(b"\n")
        records = [
            parse_record(line.decode(errors="replace"), f"{self.path}, line {number}")
            for number, line in enumerate(whole.splitlines() if newline else [], 1)
        ]
        for record in records:
            self._check(record)
        if torn:
            self._file.truncate(len(whole) + len(newline))
            self._file.seek(0, os.SEEK_END)
        return {record.key: record for record in records}

    def _check(self, record: Record) -> None:
        for name, value in self._options.items():
            theirs = record.options.get(name)
            if theirs != value:
                raise DynexitError(
                    f"{self.path} was written with {name} {theirs!r}, not {value!r}: give the "
                    "same options to continue it, or another --out."
                )


def _gone(record: Record) -> Record:
    """The line after which an older one does not count."""
    return Record(*record.key[:4], prompt=record.prompt, options=record.options, gone=True)
