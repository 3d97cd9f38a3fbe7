"""Finds the sublayers to leave out that `dynexit skip-search` found: beside the model, or in the
cache.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynexit.errors import DynexitError, reason
from dynexit.model.files import cache_folder
from dynexit.model.fingerprint import weights_fingerprint
from dynexit.model.gguf.files import is_gguf
from dynexit.model.skips import Skips
from dynexit.plain import build, parse_json

BESIDE = "skips.json"  # the file's name, or what a GGUF file's is followed by


@dataclass(frozen=True)
class Kept:
    """What `skip-search` writes of a search.

    Attributes:
        model: its name, when it was searched.
        fingerprint: of its weights.
        layers: decoder layers.
        left_out: numbers of the fastest set's sublayers, as `Skips` has them.
        method: the method with that set.
        tokens_per_second: of that set, on the prompts of the search.
        plain_tokens_per_second: of plain decoding on them.
        tried: all sets, each with its method and its tokens per second.
    """

    model: str
    fingerprint: str
    layers: int
    left_out: tuple[int, ...]
    method: str
    tokens_per_second: float
    plain_tokens_per_second: float
    tried: tuple[Any, ...]


def found_skips(model: Path, num_layers: int) -> Skips | None:
    """The set that was found for the model in a folder or a GGUF file; None where there is none.

    A file that is damaged or of another model is left out with a warning.
    """
    for file in (file_beside(model), cached_file(model)):
        try:
            if file.is_file():
                return _read(file, model, num_layers)
        except DynexitError as error:
            warnings.warn(f"{error} It is left out.", stacklevel=4)
    return None


def file_beside(model: Path) -> Path:
    """The file that is looked for beside a model."""
    return model.with_name(f"{model.name}.{BESIDE}") if is_gguf(model) else model / BESIDE


def cached_file(model: Path) -> Path:
    """The file that `skip-search` writes to by default."""
    return cache_folder("skips") / f"{weights_fingerprint(model)}.json"


def _read(file: Path, model: Path, num_layers: int) -> Skips:
    """The set in a file of a search.

    Raises:
        DynexitError: the file cannot be read, is damaged, or of another model.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DynexitError(f"cannot read {file}: {reason(error)}.") from error
    kept = build(Kept, parse_json(text, str(file)), str(file))
    if kept.fingerprint != weights_fingerprint(model) or kept.layers != num_layers:
        raise DynexitError(
            f"{file} is of {kept.model}, a different model: run `dynexit skip-search` on this one."
        )
    if not kept.left_out or not all(0 <= part < 2 * num_layers for part in kept.left_out):
        raise DynexitError(f"{file} names no sublayers of this model: run `dynexit skip-search`.")
    return Skips.of(num_layers, kept.left_out)
