"""A folder's quantised weights under the names of an unquantised checkpoint."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.model.affine.layout import Header, Layout, Module
from dynexit.model.affine.settings import layout_of
from dynexit.model.reading import read_json
from dynexit.model.shards import listed, opened_shard, shards_of
from dynexit.model.stored import Blocks, Stored

CONFIG, FIRST = "config.json", "model.embed_tokens.weight"
PLAIN = {"weight", "bias", "inv_freq"}  # ends of names of what is not quantised
NUMBERS = {"I64": 8, "F64": 8, "I32": 4, "F32": 4, "F16": 2, "BF16": 2}  # bytes of one
MATRIX = 2  # dimensions


class AffineWeights:
    """Weights of a folder, some of them quantised. See `StoredWeights`."""

    def __init__(self, folder: Path, layout: Layout, headers: Mapping[str, Header]) -> None:
        self._layout = layout
        modules: dict[str, dict[str, Header]] = {}
        for name, header in headers.items():
            module, _, end = name.rpartition(".")
            modules.setdefault(module, {})[end] = header
        self._quantised = {name: own for name, own in modules.items() if layout.mark in own}
        self._plain = {
            f"{name}.{end}": header
            for name, own in modules.items()
            for end, header in own.items()
            if name not in self._quantised or end == "bias"
        }
        if not self._quantised:
            raise DynexitError(
                f"{folder}: config.json says {layout.name}, but no tensor is quantised."
            )
        if odd := [name for name in self._plain if name.rpartition(".")[2] not in PLAIN]:
            raise DynexitError(f"{folder} has a tensor {min(odd)!r}, which is not supported.")

    def keys(self) -> Iterator[str]:
        """See `StoredWeights`."""
        yield from (f"{module}.weight" for module in self._quantised)
        yield from self._plain

    def stored(self, name: str) -> Stored:
        """See `StoredWeights`."""
        if name in self._plain:
            header = self._plain[name]
            return Stored(header.shape, header.type, _bytes(header), quantised=False)
        module = self._module(name)
        scheme, shape = self._layout.fitted(module)
        size = sum(_bytes(header) for end, header in module.headers.items() if end != "bias")
        return Stored(shape, f"{self._layout.name} {scheme}", size, quantised=True)

    def get_tensor(self, name: str) -> Tensor:
        """See `StoredWeights`."""
        if name in self._plain:
            return _read(self._plain[name], name)
        return self._layout.values(self._module(name)).floats()

    def blocks(self, name: str) -> Blocks | None:
        """See `StoredWeights`."""
        return None if name in self._plain else self._layout.values(self._module(name)).blocks()

    def numbers(self, name: str, dtype: torch.dtype) -> Tensor:
        """See `StoredWeights`."""
        tensor = self.get_tensor(name)
        return tensor.to(dtype) if name in self._plain and tensor.ndim == MATRIX else tensor.float()

    def _module(self, name: str) -> Module:
        """The module of a quantised weight."""
        module = name.rpartition(".")[0]
        own = self._quantised[module]
        return Module(module, own, lambda end: _read(own[end], f"{module}.{end}"))


def _read(header: Header, name: str) -> Tensor:
    with opened_shard(header.file, name) as file:
        tensor: Tensor = file.get_tensor(name)
    return tensor


def _bytes(header: Header) -> int:
    return prod(header.shape) * NUMBERS.get(header.type, 1)


def open_affine(folder: Path) -> AffineWeights | None:
    """The weights of a folder whose configuration says that they are quantised; else None.

    Raises:
        DynexitError: a format that does not run, or files that are missing or damaged.
    """
    if not (folder / CONFIG).exists():
        return None
    files = [file for pattern in ("*.json", "*.safetensors") for file in folder.glob(pattern)]
    stats = [(file.name, file.stat()) for file in sorted(files) if file.exists()]
    return _opened(folder, tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))


@lru_cache(maxsize=4)
def _opened(folder: Path, _: tuple[tuple[str, int, int], ...]) -> AffineWeights | None:
    """Read once; the key names each file's size and time, so that none is stale."""
    layout = layout_of(read_json(folder / CONFIG))
    if layout is None:
        return None
    headers: dict[str, Header] = {}
    files = set(shards_of(folder, [*listed(folder)] or [FIRST]).values())
    for file in sorted(files):
        with opened_shard(file, FIRST) as weights:
            for name in weights.keys():  # noqa: SIM118  # an opened file is no mapping
                told = weights.get_slice(name)
                headers[name] = Header(file, tuple(told.get_shape()), told.get_dtype())
    return AffineWeights(folder, layout, headers)
