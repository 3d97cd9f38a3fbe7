"""Finds the file of each tensor of a checkpoint, and checks the files against the configuration."""

from collections.abc import Container, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.gguf.files import is_gguf
from dynexit.model.quantised import stored_weights
from dynexit.model.shards import listed, opened_shard, shards_of
from dynexit.model.stored import Stored, StoredWeights
from dynexit.model.tying import Wanted, named_as_held
from dynexit.model.weights import Part, weight_map

FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}  # as safetensors calls them


def wanted_of(folder: Path, config: ModelConfig) -> tuple[Wanted, dict[str, Path]]:
    """What fills each parameter of ours, and the file of each of these tensors.

    Raises:
        DynexitError: there are no weights, or not all of them are listed.
    """
    found = held(folder)
    if 0 < len(found) < config.num_layers:
        raise DynexitError(
            f"{folder} holds {len(found)} tensors, too few for the {config.num_layers} layers of "
            "its configuration."
        )
    wanted = named_as_held(weight_map(config), found)
    names = [part.name for parts in wanted.values() for part in parts]
    if stored_weights(folder):
        return wanted, dict.fromkeys(names, folder)
    return wanted, shards_of(folder, names)


def check_weights(folder: Path, config: ModelConfig) -> None:
    """Compare what the files say of their tensors with what the model asks for: a configuration is
    believed only then, and memory is taken after that.

    Raises:
        DynexitError: a file that is missing or damaged; a tensor that is missing, misshapen or of a
            type that does not run.
    """
    wanted, files = wanted_of(folder, config)
    quantised = stored_weights(folder)
    of_file: dict[Path, list[Part]] = {}
    for part in chain.from_iterable(wanted.values()):
        of_file.setdefault(files[part.name], []).append(part)
    for file, parts in of_file.items():
        with opened(file, parts[0].name) as weights:
            present = set(weights.keys())
            told = quantised.stored if quantised else partial(_told, weights)
            for part in parts:
                if part.name not in present:
                    raise DynexitError(f"{file} has no tensor {part.name!r}.")
                _check_tensor(part, told(part.name))
    if quantised:
        _check_biases(quantised, files)


def _told(weights: Any, name: str) -> Stored:
    """What an opened file says of a tensor."""
    header = weights.get_slice(name)
    return Stored(tuple(header.get_shape()), header.get_dtype(), 0, quantised=False)


def _check_tensor(part: Part, stored: Stored) -> None:
    if stored.shape != part.shape:
        raise DynexitError(
            f"tensor {part.name!r} has shape {stored.shape}, but the model needs {part.shape}."
        )
    if not stored.quantised and stored.type not in FLOATS:
        raise DynexitError(f"tensor {part.name!r} is {stored.type}: quantised weights do not run.")


def _check_biases(weights: StoredWeights, wanted: Container[str]) -> None:
    """Some quantisers give every matrix a bias; one that a model does not ask for must be zero."""
    for name in weights.keys():  # noqa: SIM118  # no mapping
        if name.endswith(".bias") and name not in wanted and weights.get_tensor(name).any():
            raise DynexitError(f"tensor {name!r} is a bias that this architecture does not have.")


@contextmanager
def opened(file: Path, name: str) -> Iterator[Any]:
    """A file of weights, or all of a quantised checkpoint's, for as long as it is read.

    Raises:
        DynexitError: it is missing or damaged; `name` is the first tensor that is read.
    """
    whole = file.is_dir() or is_gguf(file)
    if whole and (weights := stored_weights(file)):
        yield weights
    else:
        with opened_shard(file, name) as shard:
            yield shard


def held(folder: Path) -> dict[str, Path]:
    """Weights of a checkpoint by name, and the file of each; none where files are damaged."""
    weights = stored_weights(folder)
    return listed(folder) if weights is None else dict.fromkeys(weights.keys(), folder)
