"""Memory that the library reads from and writes to, round after round.

A small model's pass is over in two milliseconds and leaves Python cold: to allocate a tensor then
takes 60 microseconds, an array of numbers 20 (docs/log.md). So a sequence keeps what its rounds
need.
"""

from collections.abc import Sequence
from ctypes import c_float, c_int32, c_int64
from typing import Any

import numpy as np
import torch

from dynexit.model.drafting_rule import DraftingRule, Leaf
from dynexit.model.interface import Span
from dynexit.model.native.binding import (
    NativeDrafted,
    NativeDrafting,
    NativeReadings,
    NativeSpan,
)
from dynexit.model.readings import Readings

ROWS = 32


class Workspace:
    """Room for the rows of a round. What is in it stays until the next draft or verification.

    Attributes:
        states: of 0, 1, 2, ... rows, [n, D]: views of the same memory, which begins at `address`.
        read: what verification has written of as many, likewise.
    """

    def __init__(self, hidden_size: int, rows: int = ROWS) -> None:
        hidden = torch.empty(rows, hidden_size)
        self.rows, self.address = rows, hidden.data_ptr()
        self.states = [hidden[:count] for count in range(rows + 1)]
        self._tokens, self._places = (c_int64 * rows)(), (c_int32 * rows)()
        self.span = NativeSpan(places=self._places)
        best, top, log_sum = (c_int64 * rows)(), (c_float * rows)(), (c_float * rows)()
        self.readings = NativeReadings(best, top, log_sum)
        read = np.asarray(best), np.asarray(top), np.asarray(log_sum)
        self.read = [Readings(*(each[:count] for each in read)) for count in range(rows + 1)]
        drafted = (c_int64 * rows)(), (c_float * rows)(), self.address, None
        self.drafted = NativeDrafted(*drafted, (c_int64 * rows)(), (c_int32 * rows)())
        self._rule: DraftingRule | None = None
        self._drafting = NativeDrafting()

    def place(self, span: Span, cache: int) -> NativeSpan:
        """A span as the library reads it."""
        at, leaves = self.span, len(span.leaves)
        at.cache, at.start, at.length = cache, span.start, span.length
        at.leaves, at.slot = leaves, span.slot
        if leaves:
            self._places[:leaves] = [*span.leaves]
        return at

    def take(self, tokens: list[int]) -> Any:
        """Token ids as the library reads them."""
        self._tokens[: len(tokens)] = [*tokens]
        return self._tokens

    def drafting(self, rule: DraftingRule) -> NativeDrafting:
        """A rule as the library reads it; rules come again."""
        if rule is not self._rule:
            self._rule, self._drafting = rule, _translated(rule)
        return self._drafting

    def told(self) -> tuple[tuple[list[int], list[float]], list[Leaf]]:
        """The tokens of a draft, how likely each is, and their leaves."""
        to = self.drafted
        count, leaves = to.drafted, to.leaves
        found = map(Leaf, to.leaf_places[:leaves], to.leaf_tokens[:leaves]) if leaves else ()
        return (to.tokens[:count], to.confidences[:count]), list(found)


def _translated(rule: DraftingRule) -> NativeDrafting:
    odds, eos, floors = rule.odds, rule.eos, rule.floors
    return NativeDrafting(
        *(rule.exit_layer, rule.length, 0),
        *(len(odds), len(eos), len(floors), rule.finish, rule.threshold, rule.leaf_floor),
        *(_floats(floors), _floats(odds), _floats(rule.leaf_odds)),
        (c_int64 * len(eos))(*eos),
    )


def _floats(values: Sequence[float]) -> Any:
    """An array; none where there is nothing."""
    return (c_float * len(values))(*values) if values else None
