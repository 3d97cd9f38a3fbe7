"""Files of keys and values: safetensors whose metadata names their model and runtime.

They are written and read block by block, so that a file is never in memory twice.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dynexit.errors import DynexitError, reason
from dynexit.model.files import replacing
from dynexit.model.interface import BLOCK
from dynexit.model.reading import check_file

FORMAT = "dynexit prefixes 1"


@dataclass(frozen=True)
class Origin:
    """The origin of keys and values. Only the same model, runtime and version may use them, since
    others round differently.

    Attributes:
        fingerprint: of the checkpoint.
        name: of the model, for people.
        runtime, dtype, version: of what computed them; the version is dynexit's.
    """

    fingerprint: str
    name: str
    runtime: str
    dtype: str
    version: str


@dataclass(frozen=True)
class Stored:
    """The contents of a file: for each block the number of its parent, which comes earlier, or -1;
    its tokens, and its keys and values.
    """

    parents: Sequence[int]
    keys: Sequence[bytes]
    blocks: Iterable[Tensor]


def write_blocks(path: Path, origin: Origin, stored: Stored) -> None:
    """Write a file, whole or not at all.

    Raises:
        DynexitError: it cannot be written.
    """
    count, blocks = len(stored.keys), list(stored.blocks)
    size = blocks[0].nbytes if blocks else 0
    shapes = {
        "parents": ("I32", [count], 4 * count),
        "tokens": ("I32", [count, BLOCK], 4 * count * BLOCK),
        "blocks": ("U8", [count, size], count * size),
    }
    header: dict[str, Any] = {"__metadata__": {"format": FORMAT, **asdict(origin)}}
    at = 0
    for name, (dtype, shape, length) in shapes.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + length]}
        at += length
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.write(torch.tensor(stored.parents, dtype=torch.int32).numpy().tobytes())
        file.writelines(stored.keys)
        for block in blocks:
            file.write(block.numpy().data)


def read_blocks(path: Path, origin: Origin, block_bytes: int, key_bytes: int) -> Stored:
    """Read a file, its blocks as they are asked for.

    Raises:
        DynexitError: it is damaged, or its origin is not `origin`.
    """
    check_file(path)
    if not path.is_file():
        raise DynexitError(f"{path} is not a file: make one with a prefix cache's `save`.")
    try:
        file: Any = safe_open(str(path), "pt")
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ValueError("it is no prefix cache's, or another version's")
        found = Origin(**{name: metadata[name] for name in asdict(origin)})
        _check_origin(path, found, origin)
        parents, tokens = file.get_tensor("parents"), file.get_tensor("tokens")
        shapes = [tuple(file.get_slice("blocks").get_shape()), tuple(tokens.shape)]
        count = len(parents)
        if count and shapes != [(count, block_bytes), (count, BLOCK)]:
            raise ValueError(f"its tensors are {shapes}")
        _check_numbers(parents, tokens)
    except (OSError, SafetensorError, LookupError, TypeError, ValueError) as error:
        raise DynexitError(f"{path} cannot be read as a prefix cache: {reason(error)}.") from error
    whole = tokens.numpy().tobytes()
    keys = [whole[at : at + key_bytes] for at in range(0, len(whole), key_bytes)]
    rows = file.get_slice("blocks")
    return Stored(parents.tolist(), keys, (rows[index].clone() for index in range(count)))


def _check_origin(path: Path, found: Origin, here: Origin) -> None:
    if found.fingerprint != here.fingerprint:
        raise DynexitError(
            f"{path} holds keys and values of {found.name}, which is not this model: read the text "
            "with this one and save it again."
        )
    theirs, ours = (f"{o.runtime} in {o.dtype} of dynexit {o.version}" for o in (found, here))
    if theirs != ours:
        raise DynexitError(
            f"{path} was saved by {theirs}, but this is {ours}, which rounds differently: read the "
            "text here and save it again."
        )


def _check_numbers(parents: Tensor, tokens: Tensor) -> None:
    if parents.dtype != torch.int32 or tokens.dtype != torch.int32:
        raise ValueError("its numbers are not whole ones of 32 bits")
    if bool((parents < -1).any() or (parents >= torch.arange(len(parents))).any()):
        raise ValueError("a block comes before the one that it follows")
