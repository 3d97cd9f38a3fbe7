"""Finds what was learned from a model: where the user says, beside the model, in the cache, or in
dynexit.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path

from dynexit.errors import DynexitError
from dynexit.learning.learned import Learned, is_learned, read_about, read_learned
from dynexit.model.files import cache_folder
from dynexit.model.fingerprint import weights_fingerprint
from dynexit.model.gguf.files import is_gguf

PACKAGED = Path(__file__).parents[1] / "learned"  # folders that come with dynexit
BESIDE = "learned"  # the folder's name, or what a GGUF file's is followed by


def check_learned(folder: Path, model: Path | None) -> None:
    """Look whether a user's folder is of the model in `model`.

    Raises:
        DynexitError: nothing was learned there, or it is of another model.
    """
    about = read_about(folder)
    if model is None or about.fingerprint != weights_fingerprint(model):
        raise DynexitError(
            f"{folder} was learned from {about.model}, a different model: run `dynexit learn` on "
            "this model."
        )


def given_learned(folder: Path, model: Path | None, vocabulary_size: int) -> Learned:
    """What a user's folder holds, for the model in `model`.

    Raises:
        DynexitError: nothing was learned there, it is damaged, or of another model.
    """
    check_learned(folder, model)
    return read_learned(folder, vocabulary_size)


def find_learned(model: Path, vocabulary_size: int) -> Learned | None:
    """What was learned of the model in a folder or a GGUF file; None where nothing is found.

    What lies beside it and was learned of another model, or is damaged, is left out with a warning.
    """
    for folder in learned_folders(model):
        try:
            return given_learned(folder, model, vocabulary_size)
        except DynexitError as error:
            warnings.warn(f"{error} It is left out.", stacklevel=4)
    return None


def learned_folders(model: Path) -> Iterator[Path]:
    """Folders with something learned that are looked into for a model, in order: the one beside it
    may be of another.
    """
    fingerprint = weights_fingerprint(model)
    named = folder_beside(model), cached_folder(fingerprint)
    yield from (folder for folder in named if is_learned(folder))
    yield from _packaged(fingerprint)


def folder_beside(model: Path) -> Path:
    """The folder that is looked for beside a model."""
    return model.with_name(f"{model.name}.{BESIDE}") if is_gguf(model) else model / BESIDE


def cached_folder(fingerprint: str) -> Path:
    """The folder that `learn` writes to by default."""
    return cache_folder("learned") / fingerprint


def _packaged(fingerprint: str) -> Iterator[Path]:
    for folder in sorted(PACKAGED.iterdir()) if PACKAGED.is_dir() else ():
        if is_learned(folder) and read_about(folder).fingerprint == fingerprint:
            yield folder
