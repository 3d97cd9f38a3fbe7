"""Checkpoints, folders or GGUF files: where they are, whether they can be run, and their weights.

Code in a checkpoint is never run, and pickled weights are never opened.
"""

import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch.overrides import TorchFunctionMode

from dynexit.errors import DynexitError
from dynexit.model.config import Json, ModelConfig
from dynexit.model.families import parse_config
from dynexit.model.gguf.files import TAGGED, choose, find_on_hub, is_gguf
from dynexit.model.gguf.shape import ends_of, shape_of
from dynexit.model.gguf.weights import joined_header, open_weights
from dynexit.model.placement import place_layers
from dynexit.model.transformer import Transformer
from dynexit.model.tying import are_one, named_as_held
from dynexit.model.weights import Part, weight_map

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


def find_checkpoint(model: str | Path) -> Path:
    """A local folder or GGUF file as it is; else a hub id, from the cache or downloaded.

    A hub id may end with `:` and which of a repository's GGUF files is meant.

    Raises:
        DynexitError: neither a folder, a file nor a hub repository that can be reached.
    """
    if not isinstance(model, str | Path):
        raise DynexitError(f"model is {model!r}: give a checkpoint's folder or a hub id.")
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _inside(folder)
    if is_gguf(folder):
        if folder.is_file():
            return folder
        raise DynexitError(f"no file {str(model)!r}.")
    if tagged := TAGGED.match(str(model)):
        if found := find_on_hub(tagged["repo"], tagged["tag"], _hub_trouble):
            return found
        raise DynexitError(f"{tagged['repo']} has no GGUF file.")
    if folder.is_absolute() or str(model).startswith((".", "~")) or str(model).count("/") > 1:
        raise DynexitError(f"no folder {str(model)!r}: give a checkpoint's folder or a hub id.")
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(str(model), allow_patterns=HUB_FILES))
    except Exception as error:  # the hub client raises many kinds: network, access, name
        raise DynexitError(
            f"cannot get {str(model)!r}: it is no local folder, and {_hub_trouble(error)}."
        ) from error
    if (folder / "config.json").exists():
        return folder
    return find_on_hub(str(model), None, _hub_trouble) or folder


def _inside(folder: Path) -> Path:
    """A folder, or its GGUF file where it holds one instead of a checkpoint."""
    if (folder / "config.json").exists():
        return folder
    chosen = choose((file.name for file in folder.iterdir()), None, str(folder))
    return folder if chosen is None else folder / chosen


def _hub_trouble(error: BaseException) -> str:
    """Whether the hub was not reached, or what it said."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    for one in chain:
        if isinstance(one, ConnectionError | TimeoutError | socket.gaierror):
            reason = re.sub(r"^\[Errno -?\d+\] ", "", _first_line(chain[-1])).rstrip(".")
            return f"the hub cannot be reached ({reason})"
    return f"the hub said: {_first_line(error).rstrip('.')}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def read_json(file: Path) -> Json:
    """A JSON object from `file`, or a sentence that says what is wrong with it."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DynexitError(f"{file} is missing: {file.parent} is no complete checkpoint.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DynexitError(f"{file} cannot be read as JSON: {error}.") from error
    if not isinstance(value, dict):
        raise DynexitError(f"{file} holds no JSON object.")
    return value


def load_shape(folder: Path) -> ModelConfig:
    """The shape in `folder`'s config.json, or in a GGUF file's header; whether the head is the
    embedding, the files say.
    """
    if is_gguf(folder):
        return shape_of(joined_header(folder))
    config = parse_config(read_json(folder / "config.json"))
    if not config.tie_embeddings:
        return config
    try:
        return replace(config, tie_embeddings=are_one(_held(folder)))
    except (SafetensorError, OSError):
        return config


def load_eos(folder: Path, default: int | None = None) -> frozenset[int]:
    """Ids that end a text: generation_config.json's, else config.json's, else `default`."""
    if is_gguf(folder):
        return ends_of(joined_header(folder))
    for name in ("generation_config.json", "config.json"):
        value = read_json(folder / name).get("eos_token_id") if (folder / name).exists() else None
        if value is None:
            continue
        ids = value if isinstance(value, list) else [value]
        if not all(isinstance(token, int) for token in ids):
            raise DynexitError(
                f"{folder / name}: eos_token_id is {value!r}, not a token id or a list of them."
            )
        return frozenset(ids)
    return frozenset() if default is None else frozenset({default})


def load_model(
    folder: Path, config: ModelConfig, dtype: torch.dtype, *devices: torch.device
) -> Transformer:
    """Build the model and fill it from safetensors, one layer's tensors mapped at a time.

    Args:
        devices: one, or several that share the layers among them (`placement.py`).

    Raises:
        DynexitError: pickled weights, a truncated file, a tensor that is missing or misshapen, or
            more devices than layers.
    """
    model = without_memory(config, dtype)
    for _ in filled_modules(model, folder, *devices):
        pass
    return model


def without_memory(config: ModelConfig, dtype: torch.dtype) -> Transformer:
    """A model whose weights have shapes and no values."""
    with torch.device("meta"), Unfilled():
        return Transformer(config).to(dtype).requires_grad_(False)


class Unfilled(TorchFunctionMode):
    """Leaves out initial values: drawing them without memory imports a compiler, for seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        fills = getattr(func, "__module__", None) == "torch.nn.init"
        return given["tensor"] if fills else func(*args, **given)


def parameters(config: ModelConfig) -> tuple[int, int]:
    """How many a whole model has, a tied head counted once, and how many one layer has."""
    model = without_memory(config, torch.float32)
    whole, layer = model.parameters(), model.layer(0).parameters()
    return sum(p.numel() for p in whole), sum(p.numel() for p in layer)


def give_memory(module: torch.nn.Module, device: torch.device) -> None:
    """Its own, for as long as it lives."""
    module.to_empty(device=device)


def filled_modules(
    model: Transformer,
    folder: Path,
    *devices: torch.device,
    memory: Callable[[torch.nn.Module, torch.device], None] = give_memory,
) -> Iterator[str]:
    """Give `model` memory on `devices` and weights, a module at a time, embedding and head first.

    Yields each module's name when its weights are there, a tied head's as the embedding's. Whoever
    iterates may take its weights away before the next are read.
    """
    wanted = named_as_held(weight_map(model.config), _held(folder))
    files = _shard_of(folder, [part.name for parts in wanted.values() for part in parts])
    layers = place_layers(model.config, devices)
    ordered = sorted(wanted.items(), key=lambda item: item[0].startswith("layers."))
    for name, group in groupby(ordered, key=lambda item: item[0].rpartition(".")[0]):
        module, at = model.get_submodule(name), name.split(".")
        memory(module, layers[int(at[1])] if at[0] == "layers" else devices[0])
        model.tie()
        parameters = {f"{name}.{own}": p for own, p in module.named_parameters()}
        pieces = [(ours, part) for ours, parts in group for part in parts]
        for shard, found in groupby(pieces, key=lambda piece: files[piece[1].name]):
            _fill(parameters, shard, list(found))
        del parameters  # or a matrix would outlive its being taken away
        yield name


def _held(folder: Path) -> dict[str, Path]:
    """Tensors of a checkpoint by name, and the file of each; none where files are damaged."""
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
        return {name: folder / files[name] for name in names}
    if pickles := [f.name for pattern in PICKLES for f in folder.glob(pattern)]:
        raise DynexitError(
            f"{folder} has only pickled weights ({pickles[0]}), which can run code when opened: "
            "convert them to safetensors first."
        )
    raise DynexitError(f"{folder} has no {SINGLE} and no {INDEX}: there are no weights to load.")


def _fill(
    parameters: dict[str, torch.nn.Parameter], shard: Path, wanted: list[tuple[str, Part]]
) -> None:
    try:
        with open_weights(shard) if is_gguf(shard) else safe_open(shard, framework="pt") as file:
            present = set(file.keys())
            for ours, part in wanted:
                if part.name not in present:
                    raise DynexitError(f"{shard} has no tensor {part.name!r}.")
                _copy(parameters[ours][part.start : part.stop], file.get_tensor(part.name), part)
    except FileNotFoundError:
        raise DynexitError(f"{shard} is missing: download the checkpoint again.") from None
    except (SafetensorError, OSError) as error:
        raise DynexitError(
            f"{shard} is damaged or truncated ({error}), reading tensor {wanted[0][1].name!r}: "
            "download it again."
        ) from error


def _copy(target: torch.Tensor, source: torch.Tensor, part: Part) -> None:
    if target.shape != source.shape:
        raise DynexitError(
            f"tensor {part.name!r} has shape {tuple(source.shape)}, but the model asks for "
            f"{tuple(target.shape)}."
        )
    if not source.dtype.is_floating_point:
        raise DynexitError(f"tensor {part.name!r} is {source.dtype}: quantised weights do not run.")
    target.copy_(source)
