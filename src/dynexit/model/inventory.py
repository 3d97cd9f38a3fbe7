"""Lists the available checkpoints: in dynexit, in a folder and in the hub's cache.

Weights are not opened: all information comes from a configuration, header or card.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CacheNotFound, ModelCard, scan_cache_dir

from dynexit.errors import DynexitError, reason
from dynexit.model.gguf.files import PART, SUFFIX, is_gguf, parts_of
from dynexit.model.loading import load_shape
from dynexit.model.places import BUNDLED
from dynexit.model.quantised import stored_weights, types_of

TAGS = {"early-exit", "layerskip"}  # of a card


@dataclass(frozen=True)
class Entry:
    """A checkpoint.

    Attributes:
        name: what a command takes for it.
        where: what is looked into, a folder or a GGUF file.
        bytes: of its weights on disk.
        layers: None where it does not run.
        types: formats of quantised weights; "" where they are not quantised.
        exits: its name or its card says that it was trained for early exit.
        trouble: why it does not run; "" where it does.
    """

    name: str
    where: Path
    bytes: int
    layers: int | None
    types: str
    exits: bool
    trouble: str = ""


def inventory(folder: Path) -> Iterator[Entry]:
    """The bundled model, then those in `folder` and one level below it, then the hub's.

    Raises:
        DynexitError: the folder cannot be looked into.
    """
    yield _entry(BUNDLED.name, BUNDLED)
    try:
        below = sorted(one for one in folder.iterdir() if one.is_dir())
    except OSError as error:
        raise DynexitError(f"folder {folder} cannot be read: {reason(error)}.") from error
    for place in (folder, *below):
        yield from _in_folder(place)
    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return
    for repo in sorted(repos, key=lambda one: one.repo_id):
        newest = max(repo.revisions, key=lambda one: one.last_modified, default=None)
        if repo.repo_type == "model" and newest is not None:
            yield from _in_folder(newest.snapshot_path, repo.repo_id)


def _in_folder(place: Path, name: str | None = None) -> Iterator[Entry]:
    """A checkpoint in `place`, or each of its GGUF files; `name` is the hub's for all of them."""
    try:
        files = sorted(place.glob(f"*{SUFFIX}"))
        whole = (place / "config.json").is_file() and any(place.glob("*.safetensors"))
    except OSError:  # not to be looked into
        return
    if whole:
        yield _entry(name or str(place), place)
    for file in files:
        if (part := PART.match(file.name)) is None or int(part["number"]) == 1:
            yield _entry(f"{name}:{file.stem}" if name else str(file), file)


def _entry(name: str, where: Path) -> Entry:
    files = [where] if is_gguf(where) else sorted(where.glob("*.safetensors"))
    exits = "layerskip" in name.lower() or (not is_gguf(where) and bool(TAGS & _tags(where)))
    try:
        files = parts_of(where) if is_gguf(where) else files
        layers, weights = load_shape(where).num_layers, stored_weights(where)
        types, trouble = types_of(weights) if weights else "", ""
    except DynexitError as error:
        layers, types, trouble = None, "", str(error)
    size = sum(file.stat().st_size for file in files if file.exists())
    return Entry(name, where, size, layers, types, exits, trouble)


def _tags(folder: Path) -> set[str]:
    """Of its card, where it has one that can be read."""
    card = folder / "README.md"
    if not card.is_file():  # the library would ask the hub for it
        return set()
    try:
        return set(ModelCard.load(card, ignore_metadata_errors=True).data.tags or ())
    except (OSError, ValueError, TypeError):
        return set()
