"""Keys and values of one sequence.

Not responsible for accepting tokens: a sequence rolls back by setting a shorter length, and the
next pass overwrites everything past it. Nothing is ever copied to roll back.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.interface import BLOCK as SAVED

BLOCK = 256


class KVCache:
    """Per layer, keys and values [num_kv_heads, capacity, head_dim], grown in blocks on demand.

    Code that runs a layer writes its positions. `length` is the number of committed positions:
    those that every layer has computed for tokens that stay. It lives on the host.
    """

    def __init__(
        self, config: ModelConfig, dtype: torch.dtype, devices: Sequence[torch.device]
    ) -> None:
        """`devices`: of each layer."""
        self._config = config
        empty = torch.empty(config.num_kv_heads, 0, config.head_dim, dtype=dtype)
        self._keys = [empty.to(device) for device in devices]
        self._values = [empty.to(device) for device in devices]
        self.length = 0

    @property
    def max_positions(self) -> int:
        """Positions that the model's context holds."""
        return self._config.max_positions

    @property
    def query_group(self) -> int:
        """Query heads that share a key head."""
        return self._config.num_heads // self._config.num_kv_heads

    @property
    def bytes(self) -> int:
        """Memory held now."""
        return sum(t.numel() * t.element_size() for t in (*self._keys, *self._values))

    def write(self, layer: int, start: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store `key` and `value` [T, num_kv_heads, head_dim] at positions [start, start + T).

        Returns:
            Views of all keys and values up to start + T, [num_kv_heads, start + T, head_dim].
        """
        stop = start + key.shape[0]
        if stop > self._keys[layer].shape[1]:
            self._grow(layer, stop)
        keys, values = self._keys[layer][:, :stop], self._values[layer][:, :stop]
        keys[:, start:] = key.transpose(0, 1)
        values[:, start:] = value.transpose(0, 1)
        return keys, values

    def scatter(
        self, layer: int, places: Tensor, stop: int, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Store `key` and `value` [T, num_kv_heads, head_dim] at `places` [T], all before `stop`.

        Returns:
            Views of all keys and values up to `stop`, [num_kv_heads, stop, head_dim].
        """
        if stop > self._keys[layer].shape[1]:
            self._grow(layer, stop, beyond=True)
        keys, values = self._keys[layer][:, :stop], self._values[layer][:, :stop]
        keys[:, places] = key.transpose(0, 1)
        values[:, places] = value.transpose(0, 1)
        return keys, values

    def reserved(self, layer: int, stop: int, beyond: bool) -> tuple[int, int, int]:
        """The addresses of a layer's keys and values, and their capacity, which is `stop` or more
        positions. They hold until more are asked for. `beyond`: see `_grow`.
        """
        if stop > self._keys[layer].shape[1]:
            self._grow(layer, stop, beyond)
        keys, values = self._keys[layer], self._values[layer]
        return keys.data_ptr(), values.data_ptr(), keys.shape[1]

    def move(self, slot: int, position: int) -> None:
        """Put the keys and values of a slot at `position`, in all layers."""
        for store in (*self._keys, *self._values):
            store[:, position] = store[:, slot]

    @property
    def block_bytes(self) -> int:
        """See `interface.SavedCache`."""
        store, c = self._keys[0], self._config
        numbers = 2 * len(self._keys) * c.num_kv_heads * SAVED * c.head_dim
        return numbers * store.element_size()

    def save(self, block: int) -> Tensor:
        """See `interface.SavedCache`: each layer's keys, then each layer's values."""
        start, stop = block * SAVED, (block + 1) * SAVED
        stores = (*self._keys, *self._values)
        saved = torch.stack([store[:, start:stop].cpu() for store in stores])
        return saved.flatten().view(torch.uint8)

    def restore(self, blocks: Sequence[Tensor]) -> None:
        """See `interface.SavedCache`."""
        stop, c = len(blocks) * SAVED, self._config
        for layer, held in enumerate(self._keys):
            if stop > held.shape[1]:
                self._grow(layer, stop)
        stores = (*self._keys, *self._values)
        shape = len(stores), c.num_kv_heads, SAVED, c.head_dim
        saved = [block.view(stores[0].dtype).view(shape) for block in blocks]
        for index, store in enumerate(stores):
            store[:, :stop] = torch.cat([block[index] for block in saved], 1)

    def _grow(self, layer: int, stop: int, beyond: bool = False) -> None:
        """`beyond`: a tree's slots may lie past the context."""
        if stop > self.max_positions and not beyond:
            raise DynexitError(
                f"position {stop} is past the model's context of {self.max_positions}."
            )
        capacity = min(-(-stop // BLOCK) * BLOCK, max(self.max_positions, stop))
        try:
            grown = [_grow(store[layer], capacity) for store in (self._keys, self._values)]
        except RuntimeError as error:  # CUDA's out-of-memory error is one, too
            raise DynexitError(
                f"not enough memory for a KV cache of {capacity} positions: shorten the prompt, "
                "generate fewer tokens, or use a smaller dtype."
            ) from error
        self._keys[layer], self._values[layer] = grown


def _grow(store: Tensor, capacity: int) -> Tensor:
    heads, filled, dim = store.shape
    grown = store.new_empty(heads, capacity, dim)
    grown[:, :filled] = store
    grown[:, filled:] = 0  # what a mask hides must be numbers all the same
    return grown
