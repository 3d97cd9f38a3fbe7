"""What decoding asks of a model, whichever runtime its layers run in."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dynexit.model.config import ModelConfig
from dynexit.model.readings import Readings


class Cache(Protocol):
    """Keys and values of one sequence, in its runtime's own form.

    `length` is the number of committed positions: those that every layer has computed for tokens
    that stay. A sequence rolls back by making it shorter; what lies past it is overwritten.

    A branching model's cache can also `move(slot, position)`: put a leaf's keys and values where a
    position's are. This is all that is ever copied.
    """

    length: int

    @property
    def max_positions(self) -> int:
        """Positions that the model's context holds."""

    @property
    def bytes(self) -> int:
        """Memory held now."""


class Span(NamedTuple):
    """`length` consecutive positions of one sequence, from `start`, over its cache.

    Rows of leaves may follow: other tokens for some of these positions, `leaves` from `start` on.
    Each sees what comes before its position, and itself. Their keys and values are kept in the
    cache from `slot` on, past all positions in use.
    """

    cache: Cache
    start: int
    length: int
    leaves: tuple[int, ...] = ()
    slot: int = 0

    @property
    def stop(self) -> int:
        """The position after the last."""
        return self.start + self.length


class Model(Protocol):
    """A decoder-only model whose layers run in parts. N rows, D hidden size, V vocabulary."""

    config: ModelConfig
    runtime_name: str  # such as "eager", "graphs" or "native, avx512"
    rows_independent: bool  # a row's results are the same to the bit whatever rows are beside it
    branching: bool  # a span may have leaves
    choosable: int  # tokens that may be chosen: fewer than rows of the head where those are padded

    @property
    def device(self) -> torch.device:
        """Where hidden states and logits are."""

    @property
    def devices(self) -> Sequence[torch.device]:
        """All that hold weights, `device` first."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""

    def new_cache(self) -> Any:
        """An empty cache for one sequence."""

    def rows(self, spans: Sequence[Span]) -> Any:
        """The rows of a pass over `spans`, in the order given."""

    def embed(self, tokens: Sequence[int] | Tensor) -> Tensor:
        """Token ids [N] -> hidden states [N, D] that enter the first layer."""

    def run_layers(
        self,
        hidden: Tensor,
        rows: Any,
        start: int,
        stop: int,
        states: list[Tensor] | None = None,
        keep: int | None = None,
    ) -> Tensor:
        """Run decoder layers [start, stop) on hidden states [N, D], which stay as they are.

        Writes the keys and values of these layers at the rows' positions, and nothing else.

        Args:
            states: where given, the hidden states [N, D] that leave each layer are appended.
            keep: how many of the last rows to append; None is all, as they are.

        Returns:
            [N, D], the hidden states that leave layer `stop` (counted from 1).
        """

    def unembed(self, hidden: Tensor, limit: int | None = None) -> Tensor:
        """Hidden states [N, D] of any layer -> logits [N, V]: final norm, then head.

        V leaves out rows of the head that pad the vocabulary: no token is ever chosen there.
        Where `limit` is given, only so many rows of the head are read, and the rest is -inf.
        """

    def read(self, hidden: Tensor, limit: int | None = None) -> Tensor | Readings:
        """Like `unembed`, for who needs no more than the best tokens: perhaps only those."""
