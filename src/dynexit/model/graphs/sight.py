"""What a recorded layer reads of the rows that pass it, as numbers on its device: where their keys
and values lie and which of these each row sees. So one recording serves every text.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.model.cache import KVCache
from dynexit.model.interface import Span

SLOT, SEEN, LISTED = 0, 1, 2  # columns of a row's sight, see `Sight`; the last goes on to the end
DEPTH = 64  # of a tree, at most
COLUMNS = LISTED + DEPTH
NOWHERE = -1


class Sight:
    """Tables for W rows of a pass and L layers, in one piece of memory that is filled at once.

    Attributes:
        rows: [W, COLUMNS]: where in its cache a row's own keys and values go, how many positions it
            sees from the first on, and single ones that it sees beside these. What is not there,
            and every number of a row that a pass does not need, is -1.
        caches: [L, 3, W]: the addresses of the keys and of the values of a row's sequence, each
            [num_kv_heads, capacity, head_dim], and that capacity.
    """

    def __init__(self, width: int, layers: int, device: torch.device) -> None:
        size = width * (COLUMNS + 3 * layers)
        self._whole = torch.full((size,), NOWHERE, dtype=torch.int64, device=device)
        self.rows, self.caches = self._parts(self._whole, width)

    def put(self, spans: Sequence[Span], start: int, stop: int) -> None:
        """Fill in a pass of these spans through layers [start, stop), without a wait."""
        width = len(self.rows)
        whole = torch.full_like(self._whole, NOWHERE, device="cpu", pin_memory=self._whole.is_cuda)
        rows, caches = (part.numpy() for part in self._parts(whole, width))
        first = 0
        for span in spans:
            last = first + span.length
            _put_rows(span, rows[first:last])
            caches[start:stop, :, first:last] = _reserved(span, start, stop)[:, :, None]
            first = last
        self._whole.copy_(whole, non_blocking=True)

    @staticmethod
    def _parts(whole: Tensor, width: int) -> tuple[Tensor, Tensor]:
        rows, caches = whole.split((width * COLUMNS, len(whole) - width * COLUMNS))
        return rows.view(width, COLUMNS), caches.view(-1, 3, width)


def _put_rows(span: Span, rows: NDArray[np.int64]) -> None:
    """One span's rows of the table."""
    if span.parents is None:
        rows[:, SLOT] = range(span.start, span.stop)
        rows[:, SEEN] = rows[:, SLOT] + 1
        return
    for row, seen in zip(rows, span.lineages, strict=True):
        if len(seen) > DEPTH:
            raise DynexitError(f"a draft has {len(seen)} levels: at most {DEPTH} are possible.")
        row[SLOT], row[SEEN] = seen[-1], span.start
        row[LISTED : LISTED + len(seen)] = seen


def _reserved(span: Span, start: int, stop: int) -> NDArray[np.int64]:
    """[stop - start, 3] for layers of a span's cache."""
    cache, beyond = cast(KVCache, span.cache), span.parents is not None
    room = max(span.places) + 1 if beyond else span.stop
    found = [cache.reserved(layer, room, beyond) for layer in range(start, stop)]
    return np.array(found, np.int64).reshape(-1, 3)
