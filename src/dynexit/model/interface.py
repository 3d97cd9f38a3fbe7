"""What decoding asks of a model, whichever runtime its layers run in."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dynexit.model.config import ModelConfig
from dynexit.model.draft_tokens import DraftTokens
from dynexit.model.drafting import Drafted
from dynexit.model.drafting_rule import DraftingRule, depths, homes
from dynexit.model.readings import Readings

BLOCK = 32  # positions that are saved together


class Cache(Protocol):
    """Keys and values of one sequence, in its runtime's own form.

    `length` is the number of committed positions: those that every layer has computed for tokens
    that stay. A sequence rolls back by making it shorter; what lies past it is overwritten.

    """

    length: int

    def move(self, slot: int, position: int) -> None:
        """Put the keys and values of a row that is not at home where its position is. Within a
        cache this is all that is ever copied.
        """

    @property
    def max_positions(self) -> int:
        """Positions that the model's context holds."""

    @property
    def bytes(self) -> int:
        """Memory held now."""


class SavedCache(Cache, Protocol):
    """A cache whose contents may be copied, a block of positions at a time: of models of
    checkpoints.
    """

    def save(self, block: int) -> Tensor:
        """A copy of the keys and values of positions [block * BLOCK, (block + 1) * BLOCK), which
        all layers have computed: [block_bytes] bytes on the host, laid out as its runtime does.
        """

    def restore(self, blocks: Sequence[Tensor]) -> None:
        """Put blocks that caches of this model have saved at positions from 0 on, which may grow
        the cache and does not change `length`.

        Raises:
            DynexitError: there is no memory for them.
        """

    @property
    def block_bytes(self) -> int:
        """Size of a saved block."""


class Span(NamedTuple):
    """Rows of one sequence over its cache: `length` consecutive positions from `start`, or a tree.

    In a tree row 0 stands at `start`, and row i > 0 follows row `parents[i - 1]`: it sees that one
    and all that it follows, nothing else. A row is at home, and keeps its keys and values at its
    position, where it is the first child of a row at home; any other row i keeps them in slot
    `slot + i`, past all positions in use. The span's are `length` rows from row `first` on: those
    before have run, and those after do not count.
    """

    cache: Cache
    start: int
    length: int
    parents: Sequence[int] | None = None
    slot: int = 0
    first: int = 0

    @property
    def stop(self) -> int:
        """The position after the last."""
        return self.start + (self.length if self.parents is None else 1 + max(depths(self._known)))

    @property
    def _known(self) -> Sequence[int]:
        """Parents of the rows that count."""
        return () if self.parents is None else self.parents[: self.first + self.length - 1]

    @property
    def depths(self) -> Sequence[int]:
        """How many rows each of the span's rows follows."""
        return range(self.length) if self.parents is None else depths(self._known)[self.first :]

    @property
    def places(self) -> Sequence[int]:
        """Where keys and values are: of the span's rows, and in a tree of those before them."""
        if self.parents is None:
            return range(self.start, self.stop)
        stand = zip(depths(self._known), homes(self._known), strict=True)
        return [
            self.start + depth if home else self.slot + row
            for row, (depth, home) in enumerate(stand)
        ]

    @property
    def lineages(self) -> Sequence[Sequence[int]]:
        """Of each of a tree's rows, the places of itself and of all that it follows."""
        places = self.places
        seen = [[places[0]]]
        for parent, place in zip(self._known, places[1:], strict=True):
            seen.append([*seen[parent], place])
        return seen[self.first :]


class Shape(Protocol):
    """What decoding reads of a model's configuration."""

    @property
    def num_layers(self) -> int:
        """Decoder layers."""

    @property
    def max_positions(self) -> int:
        """Positions that its context holds."""


class Model(Protocol):
    """A decoder-only model whose layers run in parts. N rows, D hidden size, V vocabulary.

    `parts.ByParts` has what is made of the others: `verify`, `draft`, `candidates`,
    `copy_for_drafts`.
    """

    runtime_name: str  # such as "eager", "graphs" or "native, avx512"
    rows_independent: bool  # a row's results are the same to the bit whatever rows are beside it
    most_children: int  # of a row of a span: 1 where passes run chains alone
    vocabulary_size: int  # tokens: fewer than the head has rows where those are padded
    draft_tokens: DraftTokens  # which of them are read where a limit is given

    @property
    def config(self) -> Shape:
        """Its shape."""

    @property
    def device(self) -> torch.device:
        """Where hidden states and logits are."""

    @property
    def devices(self) -> Sequence[torch.device]:
        """All that hold weights, `device` first."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""

    @property
    def kept_layers(self) -> int:
        """How many of the layers it has: in a copy for drafts, the first ones."""

    @property
    def draft_copy(self) -> "Model | None":
        """See `copy_for_drafts`."""

    def new_cache(self) -> Cache:
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
        Where `limit` is given, only so many rows of the head are read, those of `draft_tokens`
        where these are as many, and the rest is -inf.
        """

    def read(self, hidden: Tensor, limit: int | None = None) -> Tensor | Readings:
        """Like `unembed`, when only the best tokens are needed: perhaps only those."""

    def draft_by(self, chosen: DraftTokens) -> None:
        """Make these its `draft_tokens`, before anything is decoded. A runtime that cannot gather
        rows of the head leaves them as they are: the first ids.
        """

    def verify(
        self, given: list[int] | Tensor, span: Span, start: int, stop: int
    ) -> Tensor | Readings:
        """Run layers [start, stop) for the n rows of a span and read the whole head, as `read`.

        Args:
            given: the rows' tokens, or the states [n, D] that left layer `start`: contiguous, and
                perhaps overwritten.

        Returns:
            What was read of each row, until the next call for the same cache. Of readings only the
            best tokens count, and whether `log_sum` is a number.
        """

    def draft(
        self, cache: Cache, start: int, token: int, rule: DraftingRule, states: bool
    ) -> Drafted:
        """Write on greedily after `token`, which stands at position `start`.

        Writes keys and values of layers [0, exit_layer) from there on, those of rows that are not
        at home in slots from `rule.slot(start)` on. Rows whose logits are no numbers have no
        children, and no row has more than `most_children`.

        Args:
            states: keep the states of each layer; for a chain alone.
        """

    def candidates(
        self, hidden: Tensor, count: int, limit: int | None
    ) -> list[list[tuple[int, float]]]:
        """The most likely tokens after each of the hidden states [N, D], `count` at most, and their
        probabilities, the most likely first. Args as of `unembed`.
        """

    def copy_for_drafts(self, layers: int, tokens: int) -> "Model":
        """The first layers and the first tokens of the head in int8, kept as `draft_copy`.

        One that holds less is replaced; one that holds more is returned. It works on this model's
        caches and embeddings.

        Raises:
            DynexitError: a runtime that cannot.
        """


class Configured(Model, Protocol):
    """A model of a checkpoint: one whose whole configuration is known."""

    @property
    def config(self) -> ModelConfig:
        """Its sizes and all that its family says of it."""

    def new_cache(self) -> SavedCache:
        """See `Model`."""

    @property
    def layer_bytes(self) -> int:
        """Of the weights of all layers."""

    @property
    def head_bytes(self) -> int:
        """Of the head."""

    @property
    def embedding_bytes(self) -> int:
        """Of the embedding, where it is not the head."""

    @property
    def multiplied(self) -> torch.dtype:
        """What products of its weights are computed in."""

    def readers(self, memory: Tensor) -> list[Callable[[], object]]:
        """Ways to read all of a tensor as its passes read weights: none is the fastest everywhere.

        Args:
            memory: fp32, whole pages of 4,096 bytes, on its device.
        """
