"""The interface between decoding and a model, the same for every runtime."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dynexit.model.config import ModelConfig
from dynexit.model.draft_tokens import DraftTokens
from dynexit.model.drafting import Drafted
from dynexit.model.drafting_rule import DraftingRule, depths, homes
from dynexit.model.readings import Readings
from dynexit.model.skips import Skips
from dynexit.model.text_tokens import TextTokens
from dynexit.model.windows import Window

BLOCK = 32  # positions per saved block


class Cache(Protocol):
    """The KV cache of one sequence, in its runtime's own layout.

    `length` is the number of committed positions: those that every layer has computed for tokens
    of the text. Rolling back sets a smaller `length`; positions past it are overwritten.
    """

    length: int

    def move(self, slot: int, position: int) -> None:
        """Move the keys and values of a row that is not at home to its position. Nothing else is
        ever copied within a cache.
        """

    @property
    def max_positions(self) -> int:
        """Positions in the model's context."""

    @property
    def bytes(self) -> int:
        """Memory held now."""


class SavedCache(Cache, Protocol):
    """A cache whose contents may be copied out, one block of positions at a time. Models of
    checkpoints have it.
    """

    def save(self, block: int) -> Tensor:
        """Copy the keys and values of positions [block * BLOCK, (block + 1) * BLOCK), which all
        layers must have computed. Returns [block_bytes] bytes on the host, in the runtime's layout.
        """

    def restore(self, blocks: Sequence[Tensor]) -> None:
        """Write saved blocks of this model to the positions from 0 on. The cache may grow; `length`
        does not change.

        Raises:
            DynexitError: there is not enough memory.
        """

    @property
    def block_bytes(self) -> int:
        """Size of a saved block."""


class Span(NamedTuple):
    """Rows of one sequence over its cache: `length` consecutive positions from `start`, or a tree.

    In a tree, row 0 is at position `start`, and row i > 0 is a child of row `parents[i - 1]`. A row
    attends to its ancestors and the cache, nothing else. Row 0 is at home, and so is the first
    child of a row at home: it keeps its keys and values at its position. Any other row i keeps them
    in slot `slot + i`, past all positions in use. The span has `length` rows from row `first` on:
    earlier rows have already run, later ones are ignored. With a `window`, a chain's rows see
    only what it shows; such spans are for a model that is `skipping`.
    """

    cache: Cache
    start: int
    length: int
    parents: Sequence[int] | None = None
    slot: int = 0
    first: int = 0
    window: Window | None = None

    @property
    def stop(self) -> int:
        """The position after the span's last."""
        return self.start + (self.length if self.parents is None else 1 + max(depths(self._known)))

    @property
    def _known(self) -> Sequence[int]:
        """Parents of the rows up to the span's last."""
        return () if self.parents is None else self.parents[: self.first + self.length - 1]

    @property
    def depths(self) -> Sequence[int]:
        """The number of ancestors of each of the span's rows."""
        return range(self.length) if self.parents is None else depths(self._known)[self.first :]

    @property
    def places(self) -> Sequence[int]:
        """Cache slots of the span's rows; in a tree, also of the rows before them."""
        if self.parents is None:
            return range(self.start, self.stop)
        stand = zip(depths(self._known), homes(self._known), strict=True)
        return [
            self.start + depth if home else self.slot + row
            for row, (depth, home) in enumerate(stand)
        ]

    @property
    def lineages(self) -> Sequence[Sequence[int]]:
        """For each of a tree's rows, the cache slots of its ancestors and itself."""
        places = self.places
        seen = [[places[0]]]
        for parent, place in zip(self._known, places[1:], strict=True):
            seen.append([*seen[parent], place])
        return seen[self.first :]


class Shape(Protocol):
    """The part of a model's configuration that decoding reads."""

    @property
    def num_layers(self) -> int:
        """Decoder layers."""

    @property
    def max_positions(self) -> int:
        """Positions in its context."""


class Model(Protocol):
    """A decoder-only model whose layers run in parts. N rows, D hidden size, V vocabulary.

    `parts.ByParts` implements `verify`, `draft`, `candidates` and `copy_for_drafts` by means of the
    other methods.
    """

    runtime_name: str  # such as "eager", "graphs" or "native, avx512"
    rows_independent: bool  # a row's results do not depend on the other rows of a pass, to the bit
    most_children: int  # children per row that a draft of it has, at most
    runs_trees: bool  # whether a span may be a tree
    reads_text: bool  # whether drafts can also read tokens of their text: see `read_with`
    vocabulary_size: int  # tokens; the head may have more rows, as padding
    draft_tokens: DraftTokens  # the tokens that are read where a limit is given

    @property
    def config(self) -> Shape:
        """The model's shape."""

    @property
    def device(self) -> torch.device:
        """Where hidden states and logits are."""

    @property
    def devices(self) -> Sequence[torch.device]:
        """All devices that hold weights, `device` first."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""

    @property
    def kept_layers(self) -> int:
        """The number of layers it has; a copy for drafts has only the first ones."""

    @property
    def draft_copy(self) -> "Model | None":
        """See `copy_for_drafts`."""

    @property
    def skipping(self) -> "Model | None":
        """The model that can leave out sublayers and see through a window, on this model's caches:
        mostly itself. None where layers are a program of their own.
        """

    def new_cache(self) -> Cache:
        """An empty cache for one sequence."""

    def rows(self, spans: Sequence[Span]) -> Any:
        """The rows of a forward pass over `spans`, in the order given."""

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
        skips: Skips | None = None,
    ) -> Tensor:
        """Run decoder layers [start, stop) on hidden states [N, D], which are not modified.

        Writes the keys and values of these layers at the rows' positions, and nothing else.

        Args:
            states: a list to which the output [N, D] of each layer is appended; None is no list.
            keep: how many of the last rows to append; None is all, without a copy.
            skips: sublayers that are left out; only for a model that is `skipping`.

        Returns:
            [N, D], the output of layer `stop` (counted from 1).
        """

    def unembed(self, hidden: Tensor, limit: int | None = None) -> Tensor:
        """Hidden states [N, D] of any layer -> logits [N, V]: final norm, then head.

        V excludes rows of the head that pad the vocabulary: they are never chosen. With `limit`,
        only that many rows of the head are read and all other logits are -inf. These are the rows
        of `draft_tokens` where their number is `limit`.
        """

    def read(self, hidden: Tensor, limit: int | None = None) -> Tensor | Readings:
        """Like `unembed`, when only the top tokens are needed. May return only those."""

    def new_text_tokens(self, limit: int) -> TextTokens:
        """What a text adds to the tokens that are read with `limit`: nothing yet."""

    def read_with(
        self, hidden: Tensor, limit: int, own: Sequence[TextTokens], best_only: bool
    ) -> Tensor | Readings:
        """As `unembed` with a limit, or as `read` where `best_only`; each row also reads tokens of
        its text. Only for a model that `reads_text`.

        Args:
            own: for each row, what its text adds, made by `new_text_tokens` with this limit: of
                this model, or of the one that it is a copy of.
        """

    def draft_by(self, chosen: DraftTokens) -> None:
        """Set `draft_tokens`, before anything is decoded. A runtime that cannot gather rows of the
        head ignores this and keeps the first ids.
        """

    def verify(
        self, given: list[int] | Tensor, span: Span, start: int, stop: int
    ) -> Tensor | Readings:
        """Run layers [start, stop) for the n rows of a span and read the whole head, as `read`.

        Args:
            given: the rows' tokens, or the hidden states [n, D] after layer `start`: contiguous;
                they may be overwritten.

        Returns:
            What was read of each row; valid until the next call for the same cache. Of readings,
            only the top tokens may be used, and whether `log_sum` is a number.
        """

    def draft(
        self, cache: Cache, start: int, token: int, rule: DraftingRule, states: bool
    ) -> Drafted:
        """Draft greedily after `token`, which is at position `start`.

        Writes keys and values of layers [0, exit_layer) from there on; rows that are not at home
        use slots from `rule.slot(start)` on. Rows with NaN logits have no children, and no row has
        more than `most_children`.

        Args:
            states: keep the hidden states of each layer; only for a chain.
        """

    def candidates(
        self, hidden: Tensor, count: int, limit: int | None
    ) -> list[list[tuple[int, float]]]:
        """Up to `count` of the likeliest tokens after each of the hidden states [N, D] with their
        probabilities, the likeliest first. `limit` is as in `unembed`.
        """

    def copy_for_drafts(self, layers: int, tokens: int) -> "Model":
        """Copy the first layers and the first tokens of the head to int8, as `draft_copy`.

        A smaller existing copy is replaced; a larger one is returned. The copy works on this
        model's caches and embeddings.

        Raises:
            DynexitError: the runtime cannot make a copy.
        """


class Described(Model, Protocol):
    """A model whose whole configuration is known."""

    @property
    def config(self) -> ModelConfig:
        """The configuration: sizes, and what the model family defines."""


class Configured(Described, Protocol):
    """A model of a checkpoint."""

    def new_cache(self) -> SavedCache:
        """See `Model`."""

    @property
    def layer_bytes(self) -> int:
        """Bytes of the weights of all layers."""

    @property
    def head_bytes(self) -> int:
        """Bytes of the head."""

    @property
    def embedding_bytes(self) -> int:
        """Bytes of the embedding; 0 where it is tied to the head."""

    @property
    def rank_bytes(self) -> Sequence[int]:
        """Bytes of the weights that each process holds; mostly there is one."""

    @property
    def multiplied(self) -> torch.dtype:
        """The dtype in which products of its weights are computed."""

    def readers(self, memory: Tensor) -> list[Callable[[], object]]:
        """Several ways to read a whole tensor as its passes read weights: which one is fastest
        depends on the machine.

        Args:
            memory: fp32, whole pages of 4,096 bytes, on its device.
        """
