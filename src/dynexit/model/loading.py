"""Checkpoints, folders or GGUF files: whether they can be run, and their weights.

Code in a checkpoint is never run, and pickled weights are never opened.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch.overrides import TorchFunctionMode

from dynexit.errors import DynexitError
from dynexit.model.affine.settings import layout_of
from dynexit.model.config import ModelConfig
from dynexit.model.families import parse_config
from dynexit.model.gguf.files import is_gguf
from dynexit.model.placement import place_layers
from dynexit.model.reading import read_json
from dynexit.model.transformer import Transformer
from dynexit.model.tying import are_one
from dynexit.model.weight_files import check_weights, held, opened, wanted_of
from dynexit.model.weights import Part
from dynexit.plain import fits, shown

Made = TypeVar("Made", bound=torch.nn.Module)


def load_shape(folder: Path) -> ModelConfig:
    """The shape in `folder`'s config.json, or in a GGUF file's header; whether the head is the
    embedding, the files say.

    Raises:
        DynexitError: a model, or a format of quantised weights, that does not run.
    """
    if is_gguf(folder):
        from dynexit.model.gguf import shape, weights  # the gguf package is for such files alone

        return shape.shape_of(weights.joined_header(folder))
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
        from dynexit.model.gguf import shape, weights

        return shape.ends_of(weights.joined_header(folder))
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
    return made_without_memory(lambda: Transformer(config), dtype)


def made_without_memory(make: Callable[[], Made], dtype: torch.dtype) -> Made:
    """The same, of what `make` makes."""
    with torch.device("meta"), Unfilled():
        return make().to(dtype).requires_grad_(False)


class Share(Protocol):
    """What one process holds of a model that several share."""

    @property
    def config(self) -> ModelConfig:
        """Of the whole model."""

    def fill(self, parameter: torch.Tensor, name: str, part: Part, stored: Any) -> None:
        """Fill a parameter of ours, of that name, with its part of a stored tensor, of which
        `stored` is a slice. `part` says which of the whole parameter's rows the tensor has.
        """


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
    share: Share | None = None,
) -> Iterator[str]:
    """Give `model` memory on `devices` and weights, a module at a time, embedding and head first.

    Yields each module's name when its weights are there, a tied head's as the embedding's. The
    caller may take its weights away before the next are read.

    Args:
        share: where the model holds a part of the checkpoint only.
    """
    wanted, files = wanted_of(folder, share.config if share else model.config)
    layers = place_layers(model.config, devices)
    ordered = sorted(wanted.items(), key=lambda item: item[0].startswith("layers."))
    for name, group in groupby(ordered, key=lambda item: item[0].rpartition(".")[0]):
        module, at = model.get_submodule(name), name.split(".")
        memory(module, layers[int(at[1])] if at[0] == "layers" else devices[0])
        model.tie()
        parameters = {f"{name}.{own}": p for own, p in module.named_parameters()}
        pieces = [(ours, part) for ours, parts in group for part in parts]
        for shard, found in groupby(pieces, key=lambda piece: files[piece[1].name]):
            _fill(parameters, shard, list(found), share)
        del parameters  # or a matrix would outlive its being taken away
        yield name


def _fill(
    parameters: dict[str, torch.nn.Parameter],
    shard: Path,
    wanted: list[tuple[str, Part]],
    share: Share | None,
) -> None:
    with opened(shard, wanted[0][1].name) as file:
        for ours, part in wanted:
            if share is None:
                parameters[ours][part.start : part.stop].copy_(file.get_tensor(part.name))
            else:
                share.fill(parameters[ours], ours, part, file.get_slice(part.name))
