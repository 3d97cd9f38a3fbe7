"""Attention of a few rows on a processor, row by row: what the kernels of a card are held to, and
what recorded passes are tried with where there is no card.
"""

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor

from dynexit.model.graphs.sight import LISTED, SEEN, SLOT, Sight


def attend(sight: Sight, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """See `pieces.Attend`."""
    attended, used = torch.zeros_like(query), range(int((sight.rows[:, SLOT] >= 0).sum()))
    caches = [_stores(sight, layer, row, key) for row in used]
    for row, (keys, values) in zip(used, caches, strict=True):
        slot = int(sight.rows[row, SLOT])
        keys[:, slot], values[:, slot] = key[row], value[row]
    for row, stores in zip(used, caches, strict=True):
        numbers = sight.rows[row]
        listed = numbers[LISTED:][numbers[LISTED:] >= 0]
        seen = torch.cat((torch.arange(int(numbers[SEEN])), listed))
        keys, values = (store[:, seen] for store in stores)
        one = query[row][None, :, None]
        found = F.scaled_dot_product_attention(one, keys[None], values[None], enable_gqa=True)
        attended[row] = found[0, :, 0]
    return attended.flatten(1)


def _stores(sight: Sight, layer: int, row: int, like: Tensor) -> list[Tensor]:
    """A row's keys and values, each [KVH, capacity, head_dim], where they are."""
    *addresses, capacity = sight.caches[layer, :, row].tolist()
    shape = like.shape[1], capacity, like.shape[2]
    size = like[0].numel() * capacity
    memory = ctypes.c_char * (size * like.itemsize)
    return [
        torch.frombuffer(memory.from_address(at), dtype=like.dtype).view(shape) for at in addresses
    ]
