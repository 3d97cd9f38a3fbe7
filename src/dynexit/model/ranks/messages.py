"""A call of a model as a message: caches go by their numbers, tensors are sent after the message.

Messages are pickled. They come from rank 0 of the same command and nowhere else.
"""

import io
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dynexit.model.ranks.group import Ranks


class Call(NamedTuple):
    """What every process does next.

    Attributes:
        model: the number of the model that is meant.
        name: of a method of `Member` or, with a model, of `Shard`.
        dropped: numbers of models and caches that rank 0 no longer holds.
        read: rank 0's checksum of all tokens that it has read so far.
    """

    model: int | None
    name: str
    arguments: tuple[Any, ...]
    dropped: tuple[int, ...]
    read: int


class CacheNumber(NamedTuple):
    """Stands for a cache: its number, and its model's."""

    number: int
    model: int


class _Announced(NamedTuple):
    """Stands for a tensor that follows."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    on_host: bool


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, number_of: Callable[[Any], CacheNumber | None]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._number_of, self.tensors = number_of, list[Tensor]()

    def persistent_id(self, found: Any) -> CacheNumber | _Announced | None:
        """Of what is not pickled."""
        if isinstance(found, Tensor):
            self.tensors.append(found.contiguous())
            return _Announced(tuple(found.shape), found.dtype, found.device.type == "cpu")
        return self._number_of(found)


class _Unpickler(pickle.Unpickler):
    def __init__(self, message: bytes, cache: Callable[[CacheNumber], Any], given: Any) -> None:
        super().__init__(io.BytesIO(message))
        self._cache, self._given, self.tensors = cache, given, list[Tensor]()

    def persistent_load(self, stands: Any) -> Any:
        """What a number or an announcement stands for."""
        if isinstance(stands, CacheNumber):
            return self._cache(stands)
        self.tensors.append(self._given(len(self.tensors), stands))
        return self.tensors[-1]


def send(
    ranks: Ranks,
    call: Call,
    number_of: Callable[[Any], CacheNumber | None],
    cache: Callable[[CacheNumber], Any],
) -> Call:
    """Announce a call; returns it as it arrives: with this process's own caches."""
    file = io.BytesIO()
    pickler = _Pickler(file, number_of)
    pickler.dump(tuple(call))
    message, tensors = file.getvalue(), pickler.tensors
    ranks.announce(message)
    for tensor in tensors:
        ranks.share(tensor)
    return Call(*_Unpickler(message, cache, lambda index, _: tensors[index]).load())


def receive(ranks: Ranks, cache: Callable[[CacheNumber], Any], device: torch.device) -> Call:
    """Wait for a call. Its tensors come to `device`, where rank 0 has them on its own."""

    def room(index: int, told: _Announced) -> Tensor:
        del index
        return torch.empty(told.shape, dtype=told.dtype, device="cpu" if told.on_host else device)

    unpickler = _Unpickler(ranks.announce(None), cache, room)
    call = Call(*unpickler.load())
    for tensor in unpickler.tensors:
        ranks.share(tensor)
    return call
