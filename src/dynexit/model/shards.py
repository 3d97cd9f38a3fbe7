"""Safetensors files of a checkpoint's folder: which there are, and what opens them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from dynexit.errors import DynexitError
from dynexit.model.reading import check_file, read_json, said
from dynexit.plain import shown

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
SHARD = re.compile(r"(?!\.\.?$)[ -.0-~]+")  # a file's name, without a path


@contextmanager
def opened_shard(file: Path, name: str) -> Iterator[Any]:
    """A file of weights, for as long as it is read.

    Raises:
        DynexitError: it is missing or damaged; `name` is the first tensor that is read.
    """
    check_file(file)
    try:
        with safe_open(file, framework="pt") as weights:
            yield weights
    except FileNotFoundError:
        raise DynexitError(f"{file} is missing: download the checkpoint again.") from None
    except (SafetensorError, OSError) as error:
        raise DynexitError(
            f"{file} is damaged or truncated ({said(error)}), reading tensor {name!r}: "
            "download it again."
        ) from error


def listed(folder: Path) -> dict[str, Path]:
    """Tensors by name, and the file of each; none where files are damaged."""
    if (folder / SINGLE).is_file():
        try:
            with safe_open(folder / SINGLE, framework="pt") as file:
                return dict.fromkeys(file.keys(), folder / SINGLE)
        except (SafetensorError, OSError):  # reading a tensor will report the fault
            return {}
    found = read_json(folder / INDEX).get("weight_map") if (folder / INDEX).is_file() else None
    named = found.items() if isinstance(found, dict) else ()
    return {name: folder / Path(str(file)).name for name, file in named}


def shards_of(folder: Path, names: list[str]) -> dict[str, Path]:
    """The file of each of these tensors.

    Raises:
        DynexitError: there are no weights, or not all of them are listed.
    """
    if (folder / SINGLE).exists():  # before an index, as in transformers
        return dict.fromkeys(names, folder / SINGLE)
    if (folder / INDEX).exists():
        found = read_json(folder / INDEX).get("weight_map")
        files = found if isinstance(found, dict) else {}
        if missing := [name for name in names if not isinstance(files.get(name), str)]:
            raise DynexitError(f"{folder / INDEX} does not list tensor {missing[0]!r}.")
        if outside := [files[name] for name in names if not SHARD.fullmatch(files[name])]:
            raise DynexitError(
                f"{folder / INDEX} names a file {shown(outside[0])}: all must be beside it."
            )
        return {name: folder / files[name] for name in names}
    if pickles := [f.name for pattern in PICKLES for f in folder.glob(pattern)]:
        raise DynexitError(
            f"{folder} has only pickled weights ({pickles[0]}), which can run code when opened: "
            "convert them to safetensors first."
        )
    raise DynexitError(f"{folder} has no {SINGLE} and no {INDEX}: there are no weights to load.")
