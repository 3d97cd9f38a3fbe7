"""Caches of a model that several processes hold: each has the keys and values of its heads."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.model.cache import KVCache
from dynexit.model.ranks.group import Ranks
from dynexit.model.ranks.messages import CacheNumber


class CachePart(KVCache):
    """One process's part. It grows only where those of all processes can."""

    ranks: Ranks

    def _grow(self, layer: int, stop: int, beyond: bool = False) -> None:
        trouble = ""
        try:
            super()._grow(layer, stop, beyond)
        except DynexitError as error:
            trouble = str(error)
        self.ranks.agree(trouble)

    def save_whole(self, block: int) -> Tensor:
        """The bytes of all processes' parts of a block, one after the other."""
        return torch.cat(self.ranks.gather(self.save(block)))

    def restore_part(self, blocks: Sequence[Tensor]) -> None:
        """Take this process's part of what `save_whole` gave."""
        start = self.ranks.rank * self.block_bytes
        self.restore([block[start : start + self.block_bytes].clone() for block in blocks])


class SharedCache:
    """The whole of a cache, as decoding sees it: see `interface.SavedCache`.

    Args:
        number: its name in calls.
        own: rank 0's part.
        call: runs a method of all parts.
    """

    def __init__(
        self, number: CacheNumber, own: CachePart, call: Callable[..., Any], size: int
    ) -> None:
        self.number, self.length = number, 0
        self._own, self._call, self._size = own, call, size

    @property
    def max_positions(self) -> int:
        """See `interface.Cache`."""
        return self._own.max_positions

    @property
    def bytes(self) -> int:
        """See `interface.Cache`: of all processes."""
        return self._own.bytes * self._size

    @property
    def block_bytes(self) -> int:
        """See `interface.SavedCache`."""
        return self._own.block_bytes * self._size

    def move(self, slot: int, position: int) -> None:
        """See `interface.Cache`."""
        self._call(self, "move", slot, position)

    def save(self, block: int) -> Tensor:
        """See `interface.SavedCache`."""
        saved: Tensor = self._call(self, "save_whole", block)
        return saved

    def restore(self, blocks: Sequence[Tensor]) -> None:
        """See `interface.SavedCache`."""
        self._call(self, "restore_part", list(blocks))
