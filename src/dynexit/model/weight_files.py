"""Which file holds each tensor of a checkpoint, and whether files bear out the configuration."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.gguf.files import is_gguf
from dynexit.model.gguf.weights import GgufWeights, open_weights
from dynexit.model.reading import check_file, read_json, said
from dynexit.model.tying import Wanted, named_as_held
from dynexit.model.weights import Part, weight_map
from dynexit.plain import shown

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
SHARD = re.compile(r"(?!\.\.?$)[ -.0-~]+")  # a file's name, without a path
FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}  # as safetensors calls them


def wanted_of(folder: Path, config: ModelConfig) -> tuple[Wanted, dict[str, Path]]:
    """What fills each parameter of ours, and the file of each of these tensors.

    Raises:
        DynexitError: there are no weights, or not all of them are listed.
    """
    listed = held(folder)
    if 0 < len(listed) < config.num_layers:
        raise DynexitError(
            f"{folder} holds {len(listed)} tensors, too few for the {config.num_layers} layers of "
            "its configuration."
        )
    wanted = named_as_held(weight_map(config), listed)
    return wanted, _shard_of(folder, [part.name for parts in wanted.values() for part in parts])


def check_weights(folder: Path, config: ModelConfig) -> None:
    """Compare what the files say of their tensors with what the model asks for: a configuration is
    believed only then, and memory is taken after that.

    Raises:
        DynexitError: a file that is missing or damaged; a tensor that is missing, misshapen or
            quantised.
    """
    wanted, files = wanted_of(folder, config)
    of_file: dict[Path, list[Part]] = {}
    for part in chain.from_iterable(wanted.values()):
        of_file.setdefault(files[part.name], []).append(part)
    for file, parts in of_file.items():
        with opened(file, parts[0].name) as weights:
            present = set(weights.keys())
            for part in parts:
                if part.name not in present:
                    raise DynexitError(f"{file} has no tensor {part.name!r}.")
                _check_tensor(part, *_told(weights, part.name))


def _told(weights: Any, name: str) -> tuple[tuple[int, ...], str]:
    """A tensor's shape and type, as its file says."""
    if isinstance(weights, GgufWeights):  # of whose types those that run become floats
        return weights.tensor(name).shape, "F32"
    header = weights.get_slice(name)
    return tuple(header.get_shape()), header.get_dtype()


def _check_tensor(part: Part, shape: tuple[int, ...], dtype: str) -> None:
    if shape != part.shape:
        raise DynexitError(
            f"tensor {part.name!r} has shape {shape}, but the model asks for {part.shape}."
        )
    if dtype not in FLOATS:
        raise DynexitError(f"tensor {part.name!r} is {dtype}: quantised weights do not run.")


@contextmanager
def opened(file: Path, name: str) -> Iterator[Any]:
    """A file of weights, for as long as it is read.

    Raises:
        DynexitError: it is missing or damaged; `name` is the first tensor that is read.
    """
    check_file(file)
    try:
        with open_weights(file) if is_gguf(file) else safe_open(file, framework="pt") as weights:
            yield weights
    except FileNotFoundError:
        raise DynexitError(f"{file} is missing: download the checkpoint again.") from None
    except (SafetensorError, OSError) as error:
        raise DynexitError(
            f"{file} is damaged or truncated ({said(error)}), reading tensor {name!r}: "
            "download it again."
        ) from error


def held(folder: Path) -> dict[str, Path]:
    """Tensors of a checkpoint by name, and the file of each; none where files are damaged."""
    if is_gguf(folder):
        return dict.fromkeys(open_weights(folder).keys(), folder)
    if (folder / SINGLE).is_file():
        try:
            with safe_open(folder / SINGLE, framework="pt") as file:
                return dict.fromkeys(file.keys(), folder / SINGLE)
        except (SafetensorError, OSError):  # whoever reads a tensor says what is wrong
            return {}
    listed = read_json(folder / INDEX).get("weight_map") if (folder / INDEX).is_file() else None
    named = listed.items() if isinstance(listed, dict) else ()
    return {name: folder / Path(str(file)).name for name, file in named}


def _shard_of(folder: Path, names: list[str]) -> dict[str, Path]:
    if is_gguf(folder):
        return dict.fromkeys(names, folder)
    if (folder / SINGLE).exists():  # before an index, as in transformers
        return dict.fromkeys(names, folder / SINGLE)
    if (folder / INDEX).exists():
        listed = read_json(folder / INDEX).get("weight_map")
        files = listed if isinstance(listed, dict) else {}
        if missing := [name for name in names if not isinstance(files.get(name), str)]:
            raise DynexitError(f"{folder / INDEX} does not list tensor {missing[0]!r}.")
        if outside := [files[name] for name in names if not SHARD.fullmatch(files[name])]:
            raise DynexitError(
                f"{folder / INDEX} names a file {shown(outside[0])}: all must lie beside it."
            )
        return {name: folder / files[name] for name in names}
    if pickles := [f.name for pattern in PICKLES for f in folder.glob(pattern)]:
        raise DynexitError(
            f"{folder} has only pickled weights ({pickles[0]}), which can run code when opened: "
            "convert them to safetensors first."
        )
    raise DynexitError(f"{folder} has no {SINGLE} and no {INDEX}: there are no weights to load.")
