"""Keys and values where transformers' layers look for them; they roll back by a length."""

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

BLOCK = 256


class Place:
    """Where the next pass writes: a position that all layers of a cache share."""

    start = 0


class PlacedLayer(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """One layer's keys and values, [1, heads, capacity, head_dim] each, grown in blocks.

    To transformers it looks as long as what has been committed, whatever lies past it; a layer with
    a sliding window keeps everything, and its family's own mask hides what is out of sight.
    """

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write at the place; returns views of everything up to the end of what was written."""
        start = self._place.start
        stop = start + key_states.shape[-2]
        keys = self.keys = _written(self.keys, key_states, start, stop)
        values = self.values = _written(self.values, value_states, start, stop)
        self.is_initialized = True
        return keys[..., :stop, :], values[..., :stop, :]

    def get_seq_length(self, *args: Any) -> int:
        """Positions before the pass."""
        return self._place.start

    def get_mask_sizes(self, query_length: int, *args: Any) -> tuple[int, int]:
        """How many keys a pass of so many rows sees, and which is the first."""
        return self._place.start + query_length, 0


class AdapterCache:
    """Keys and values of one sequence: see `interface.Cache`."""

    def __init__(self, num_layers: int, max_positions: int) -> None:
        self.max_positions = max_positions
        self.length = 0
        self._place = Place()
        self._cache = Cache(layers=[PlacedLayer(self._place) for _ in range(num_layers)])

    def at(self, start: int) -> Any:
        """transformers' object, for a pass whose first row stands at `start`."""
        self._place.start = start
        return self._cache

    def move(self, slot: int, position: int) -> None:
        """See `interface.Cache`."""
        for store in self._stores:
            store[..., position, :] = store[..., slot, :]

    @property
    def bytes(self) -> int:
        """Memory held now."""
        return sum(store.nbytes for store in self._stores)

    @property
    def _stores(self) -> list[Tensor]:
        held = [layer for layer in self._cache.layers if layer.is_initialized]
        return [store for layer in held for store in (layer.keys, layer.values)]


def _written(store: Tensor | None, states: Tensor, start: int, stop: int) -> Tensor:
    """`states` at [start, stop) of a store that may end before: costs are timed far ahead."""
    if store is None or store.shape[-2] < stop:
        capacity = -(-stop // BLOCK) * BLOCK
        grown = states.new_empty(*states.shape[:-2], capacity, states.shape[-1])
        if store is not None:
            kept = store[..., :start, :]
            grown[..., : kept.shape[-2], :] = kept
        store = grown
    store[..., start:stop, :] = states
    return store
