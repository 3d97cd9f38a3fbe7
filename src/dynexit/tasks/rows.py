"""Where rows come from: the Hugging Face hub, or a local file of the same field names."""

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from dynexit.errors import DynexitError, reason

Row = Mapping[str, Any]
Rows = Sequence[Row]

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


class Hub(NamedTuple):
    """A split of a data set on the Hugging Face hub."""

    path: str
    config: str | None
    split: str
    revision: str | None = None


def read_hub(hub: Hub) -> Rows:
    """All rows of a split, downloaded where they are not cached.

    Raises:
        DynexitError: it cannot be loaded, for whatever reason.
    """
    import datasets

    try:
        loaded = datasets.load_dataset(hub.path, hub.config, split=hub.split, revision=hub.revision)
    except Exception as error:  # a network, a file system and a hub can fail in any way
        told = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        if os.environ.get("HF_HUB_OFFLINE") == "1":
            told = "the hub cannot be reached, and the data is not in its cache"
        raise DynexitError(
            f"cannot load {hub.path} ({hub.split}) from the Hugging Face hub: {told}. "
            "Use --data-dir to read a local file."
        ) from error
    return cast(Rows, loaded)


def read_folder(folder: Path, stem: str) -> Rows:
    """All rows of the file of this name in `folder`, in whichever format it is there.

    Raises:
        DynexitError: no such folder or file, or one that cannot be read.
    """
    if not folder.is_dir():
        raise DynexitError(f"data folder {folder} does not exist.")
    files = [folder / f"{stem}{suffix}" for suffix in SUFFIXES]
    there = next((file for file in files if file.is_file()), None)
    if there is None:
        names = ", ".join(file.name for file in files)
        raise DynexitError(f"the data folder {folder} has none of {names}.")
    return read_file(there)


def read_file(file: Path) -> Rows:
    """All rows of a file of JSON lines, plain or gzipped, or of a Parquet file.

    Raises:
        DynexitError: a file that is not there or not of that format; a bad line by its number.
    """
    try:
        return _read_parquet(file) if file.suffix == ".parquet" else list(_read_lines(file))
    except FileNotFoundError as error:
        raise DynexitError(f"file {file} does not exist.") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DynexitError(f"cannot read {file}: {reason(error)}.") from error


def _read_lines(file: Path) -> Iterator[Row]:
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _parse(line, f"{file}, line {number}")


def _parse(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DynexitError(f"{where} is not JSON: {reason(error)}.") from error
    if not isinstance(row, dict):
        raise DynexitError(f"{where} is not a JSON object.")
    return row


def _read_parquet(file: Path) -> Rows:
    import pyarrow
    import pyarrow.parquet

    try:
        return cast(Rows, pyarrow.parquet.read_table(file).to_pylist())
    except pyarrow.ArrowInvalid as error:
        raise DynexitError(f"cannot read {file}: {error}.") from error
