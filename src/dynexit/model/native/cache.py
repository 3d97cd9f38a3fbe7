"""Keys and values of one sequence, in the library's memory."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from dynexit.model.config import ModelConfig
from dynexit.model.native.binding import Held, Uncopied
from dynexit.model.native.workspace import Workspace


class Owner(Protocol):
    """What a cache needs of its model."""

    config: ModelConfig
    runtime: Any
    handle: int
    spare: list[Workspace]

    def workspace(self) -> Workspace:
        """A spare one, or a new one."""

    def new_workspace(self, rows: int) -> Workspace:
        """One for so many rows."""

    def call(self, function: str, *given: Any) -> None:
        """Call a function of the library."""


class NativeCache(Uncopied):
    """As `KVCache`, with a workspace for the sequence."""

    def __init__(self, model: Owner) -> None:
        self._model = model  # outlives this cache
        self._held = Held.of(model.runtime, "cache", model.handle)
        self.handle = self._held.handle
        self._workspace = model.workspace()
        self.length = 0

    def __del__(self) -> None:
        if hasattr(self, "_workspace"):
            self._model.spare.append(self._workspace)

    @property
    def max_positions(self) -> int:
        """Positions that the model's context holds."""
        return self._model.config.max_positions

    @property
    def bytes(self) -> int:
        """Memory held now."""
        return self._model.runtime.cache_bytes(self.handle)

    def workspace(self, rows: int) -> Workspace:
        """What this sequence works in, large enough for so many rows."""
        if rows > self._workspace.rows:
            self._workspace = self._model.new_workspace(2 * rows)
        return self._workspace

    def move(self, slot: int, position: int) -> None:
        """Put the keys and values of a leaf's slot at `position`."""
        self._model.call("cache_move", self.handle, slot, position)

    @property
    def block_bytes(self) -> int:
        """See `interface.SavedCache`."""
        return self._model.runtime.cache_block_bytes(self.handle)

    def save(self, block: int) -> Tensor:
        """See `interface.SavedCache`."""
        saved = torch.empty(self.block_bytes, dtype=torch.uint8)
        self._model.call("cache_save", self.handle, block, saved.data_ptr())
        return saved

    def restore(self, blocks: Sequence[Tensor]) -> None:
        """See `interface.SavedCache`."""
        for block in reversed(range(len(blocks))):  # the last first: memory grows once
            self._model.call("cache_restore", self.handle, block, blocks[block].data_ptr())
