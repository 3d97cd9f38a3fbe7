"""Checkpoints, folders or GGUF files: where they are, whether they can be run, and their weights.

Code in a checkpoint is never run, and pickled weights are never opened.
"""

import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from dynexit.errors import DynexitError
from dynexit.model.affine.settings import layout_of
from dynexit.model.config import ModelConfig
from dynexit.model.families import parse_config
from dynexit.model.gguf.files import TAGGED, choose, find_on_hub, is_gguf
from dynexit.model.gguf.shape import ends_of, shape_of
from dynexit.model.gguf.weights import joined_header
from dynexit.model.placement import place_layers
from dynexit.model.reading import read_json
from dynexit.model.transformer import Transformer
from dynexit.model.tying import are_one
from dynexit.model.weight_files import check_weights, held, opened, wanted_of
from dynexit.model.weights import Part
from dynexit.plain import fits, shown

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


def load_shape(folder: Path) -> ModelConfig:
    """The shape in `folder`'s config.json, or in a GGUF file's header; whether the head is the
    embedding, the files say.

    Raises:
        DynexitError: a model, or a format of quantised weights, that does not run.
    """
    if is_gguf(folder):
        return shape_of(joined_header(folder))
    read = read_json(folder / "config.json")
    config = parse_config(read)
    layout_of(read)
    if not config.tie_embeddings:
        return config
    files = held(folder)

    def tensor(name: str) -> torch.Tensor:
        with opened(files[name], name) as file:
            return file.get_tensor(name)

    return replace(config, tie_embeddings=are_one(files, tensor))


def load_eos(folder: Path, default: int | None = None) -> frozenset[int]:
    """Ids that end a text: generation_config.json's, else config.json's, else `default`."""
    if is_gguf(folder):
        return ends_of(joined_header(folder))
    for name in ("generation_config.json", "config.json"):
        value = read_json(folder / name).get("eos_token_id") if (folder / name).exists() else None
        if value is None:
            continue
        ids = value if isinstance(value, list) else [value]
        if not fits(ids, Sequence[int]):
            raise DynexitError(
                f"{folder / name}: eos_token_id is {shown(value)}, not a token id or a list of "
                "them."
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
    check_weights(folder, config)
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

    def empty(weights: torch.Tensor) -> torch.Tensor:  # `empty_like` would import a compiler
        return torch.empty(weights.shape, dtype=weights.dtype, device=device)

    module._apply(empty)


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
    wanted, files = wanted_of(folder, model.config)
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


def _fill(
    parameters: dict[str, torch.nn.Parameter], shard: Path, wanted: list[tuple[str, Part]]
) -> None:
    with opened(shard, wanted[0][1].name) as file:
        for ours, part in wanted:
            parameters[ours][part.start : part.stop].copy_(file.get_tensor(part.name))
