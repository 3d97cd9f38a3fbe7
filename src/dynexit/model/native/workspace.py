"""Memory that the library reads from and writes to, round after round.

A small model's pass is over in two milliseconds and leaves Python cold: to allocate a tensor then
takes 60 microseconds, an array of numbers 20 (docs/log.md). So a sequence keeps what its rounds
need.
"""

from collections.abc import Sequence
from ctypes import c_float, c_int32, c_int64
from itertools import chain
from typing import Any

import numpy as np
import torch

from dynexit.model.drafting_rule import DraftingRule, Nodes, Pricing
from dynexit.model.interface import Span
from dynexit.model.native.binding import (
    NativeDrafted,
    NativeDrafting,
    NativeReadings,
    NativeSpan,
)
from dynexit.model.native.text_tokens import handle_of
from dynexit.model.readings import Readings
from dynexit.model.windows import ALL

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
        self._tokens, self._parents = (c_int64 * rows)(), (c_int32 * rows)()
        self.span = NativeSpan()
        best, top, log_sum = (c_int64 * rows)(), (c_float * rows)(), (c_float * rows)()
        self.readings = NativeReadings(best, top, log_sum)
        read = np.asarray(best), np.asarray(top), np.asarray(log_sum)
        self.read = [Readings(*(each[:count] for each in read)) for count in range(rows + 1)]
        self.drafted = NativeDrafted(
            *((c_int64 * rows)(), (c_int32 * rows)(), (c_int32 * rows)(), (c_float * rows)()),
            self.address,
        )
        self._rule: DraftingRule | None = None
        self._drafting = NativeDrafting()

    def place(self, span: Span, cache: int) -> NativeSpan:
        """A span as the library reads it."""
        at, parents = self.span, span.parents
        at.cache, at.start, at.length, at.slot = cache, span.start, span.length, span.slot
        at.first = span.first
        at.sinks, at.recent = span.window or ALL
        at.parents = None
        if parents is not None:
            self._parents[: len(parents)] = [*parents]
            at.parents = self._parents
        return at

    def take(self, tokens: list[int]) -> Any:
        """Token ids as the library reads them."""
        self._tokens[: len(tokens)] = [*tokens]
        return self._tokens

    def drafting(self, rule: DraftingRule) -> NativeDrafting:
        """A rule as the library reads it. Rules recur, so results are cached."""
        if rule is not self._rule:
            self._rule, self._drafting = rule, _translated(rule)
        return self._drafting

    def told(self) -> Nodes:
        """The tokens of a draft."""
        to, n = self.drafted, self.drafted.drafted
        return Nodes(to.tokens[:n], to.parents[:n], to.ranks[:n], to.confidences[:n])


def _translated(rule: DraftingRule) -> NativeDrafting:
    odds, rows, levels = rule.pricing or Pricing((), (), ())
    return NativeDrafting(
        *(rule.exit_layer, rule.nodes, rule.depth, rule.ranks, 0),
        *(
            len(odds[0]) if odds else 0,
            len(rule.eos),
            len(rows),
            len(levels),
            rule.finish,
            rule.whole,
            *(rule.window or ALL),
        ),
        rule.threshold,
        *(_floats(rows), _floats(levels), _floats([*chain.from_iterable(odds)])),
        (c_int64 * len(rule.eos))(*rule.eos),
        rule.skips,
        handle_of(rule.text_tokens),
    )


def _floats(values: Sequence[float]) -> Any:
    """A C array of floats; None for an empty sequence."""
    return (c_float * len(values))(*values) if values else None
