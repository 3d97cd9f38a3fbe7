"""The file of a benchmark: appended to, never rewritten, and safe to continue."""

from collections.abc import Collection
from pathlib import Path

from dynexit.bench.options import Options
from dynexit.bench.records import Key, Record, parse_record
from dynexit.errors import DynexitError
from dynexit.model.files import Lines


class Journal:
    """Records of one benchmark in one file, which no other process may write meanwhile.

    Raises:
        DynexitError: the file cannot be written, is in use, or belongs to other options.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self.path, self._options = path, options.as_dict()
        self._lines = Lines(path)
        try:
            self.done: dict[Key, Record] = self._read()
        except DynexitError:
            self._lines.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()

    def append(self, record: Record) -> None:
        """Write one line; see `Lines.append`."""
        self._lines.append(record.as_line())
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

    def _read(self) -> dict[Key, Record]:
        """What is there."""
        records = [
            parse_record(line, f"{self.path}, line {number}")
            for number, line in enumerate(self._lines.lines, 1)
        ]
        for record in records:
            self._check(record)
        self._lines.cut()
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
