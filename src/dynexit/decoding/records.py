"""The records that pass between the phases of a round. Plans are in `plans.py`.

The project's vocabulary; each word has this one meaning everywhere:

- draft: d tokens guessed by the first E layers; verify: one pass of the target over all of them;
  accept: keep the longest prefix that the target would have generated itself.
- exit layer E: the number of layers that drafting runs, counted from 1. Speculation length d: the
  number of tokens per draft.
- tree: a draft's tokens. Each is a node, the child of the token that it follows. Row 0 of a round
  is the newest committed token, row i the i-th node. A chain is a tree without branches.
- source: where a token of the text came from.
  Accepted: drafted by a model, and the target agrees. Lookup, earlier, table, grammar: accepted
  tokens that were found in the text itself, in an earlier text, in a learned table of likely next
  tokens, or that were the only ones the text's grammar allowed.
  Recovered: the target's own token in place of the first rejected one.
  Bonus: the target's token after a path that was accepted to its end.
  Target: the token of a plain step.
- rejected: the first drafted token that the target disagrees with; nothing after it counts.
- shadow token: what a layer would have predicted at a position that is computed anyway.
- confidence: the probability of the token that was chosen.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dynexit.decoding.plans import Plan
from dynexit.model.drafting_rule import Nodes, depths
from dynexit.model.skips import Skips

if TYPE_CHECKING:
    from torch import Tensor

Source = Literal[
    "accepted", "lookup", "earlier", "table", "grammar", "recovered", "bonus", "target"
]
FinishReason = Literal["stop", "length", "context"]


@dataclass
class Draft:
    """Tokens that a drafter proposes.

    `hidden` holds the hidden states after layer `layer` for the newest committed token and all
    drafted ones; verification continues from them. A drafter that runs none of the target's layers
    leaves `layer` at 0. Without `parents` the draft is a chain. With them, token i is a child of
    row `parents[i]`, where row 0 is the newest committed token and row i + 1 is token i. Keys and
    values of rows that are not at home (`model.interface.Span`) are kept from slot `slot` on.

    The first `certain` tokens are the only ones that the grammar allows at their positions, so the
    target's choice there is known in advance.

    `agreement` and `found` are what a plan's `Skipping` asked for.

    Where `tell` is given, the tokens are unknown until the draft has arrived from the device.
    Verification is enqueued before that, so that the device stays busy.
    """

    tokens: list[int] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    parents: list[int] | None = None
    ranks: list[int] | None = None  # each token's rank among its parent's children, from 0
    layer: int = 0
    hidden: "Tensor | None" = None  # [d + 1, D]
    states: "Tensor | None" = None  # [d + 1, E, D], of layers 1..E, for shadow tokens
    logits: "list[Tensor]" = field(default_factory=list)  # processed, [1, V]; speculative only
    slot: int = 0
    sources: list[Source] | None = None  # source of each token; None is "accepted" for all
    certain: int = 0
    tell: Callable[[], Nodes] | None = None
    agreement: float | None = None
    found: Skips | None = None

    def arrive(self) -> None:
        """Wait for tokens that are still being computed on a device."""
        if self.tell is not None:
            self.take(self.tell())
            self.tell = None

    def take(self, nodes: Nodes) -> None:
        """Fill in the tokens that a model has drafted."""
        self.tokens, self.confidences = nodes.tokens, nodes.confidences
        if any(parent != row for row, parent in enumerate(nodes.parents)):
            self.parents, self.ranks = nodes.parents, nodes.ranks

    def bare(self) -> "Draft | None":
        """A copy without tensors; None if the draft is empty."""
        if not self.tokens:
            return None
        return Draft(self.tokens, self.confidences, self.parents, self.ranks)

    def path_to(self, row: int) -> list[int]:
        """The tokens on the path from the root to row `row`, in order."""
        path = []
        while row:
            path.append(self.tokens[row - 1])
            row = self.parent_of(row)
        return path[::-1]

    def source_of(self, row: int) -> Source:
        """The source of row `row`'s token, once accepted."""
        return "accepted" if self.sources is None else self.sources[row - 1]

    def parent_of(self, row: int) -> int:
        """The row that row `row` follows."""
        return row - 1 if self.parents is None else self.parents[row - 1]


class Verdict(NamedTuple):
    """The outcome of a verification: the rows of accepted tokens, each the parent of the next, then
    one token of the target. `whole`: the last accepted row has no children.
    """

    path: Sequence[int]
    token: int
    drafted: int
    whole: bool = False

    @property
    def accepted(self) -> int:
        """The number of accepted tokens."""
        return len(self.path)

    @property
    def source(self) -> Source:
        """Where the last token came from."""
        if self.drafted == 0:
            return "target"
        return "bonus" if self.whole else "recovered"


@dataclass(frozen=True)
class ShadowTokens:
    """What some layers (1..L-1 unless a plan says otherwise) would have predicted at n committed
    positions.

    `matched[k, i]` is whether layer `layers[k]` chose the target's token at position i;
    `confidence[k, i]` is that layer's confidence in its own choice. Both are [len(layers), n].
    """

    matched: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    layers: tuple[int, ...] = ()


class Evidence(NamedTuple):
    """For each kind of evidence, how often it was right and how often it was seen."""

    right: Sequence[int]
    seen: Sequence[int]


class Offer(Protocol):
    """The tree of tokens that proposers offer before a round, without a forward pass. A controller
    decides how far it grows.

    Attributes:
        priors: for each proposer, the prior probability that each kind of its evidence is right.
        size, depth: tokens in the tree, and tokens on its longest path.
    """

    priors: tuple[tuple[float, ...], ...]
    size: int
    depth: int

    def grow(self, odds: Sequence[float], floors: Sequence[float]) -> float:
        """Add the likeliest token repeatedly, as long as its probability is worth its row.

        Args:
            odds: acceptance probability of each kind of evidence, proposer by proposer.
            floors: least probability that the first, second, ... token must have; never falling.

        Returns:
            The expected number of accepted tokens.
        """

    def draft(self, depth: int) -> Draft:
        """The tree's first levels."""

    def evidence(self) -> Evidence:
        """How the trees grown since the last call compare with the text that followed, whether
        they were drafted or not.
        """


@dataclass
class Round:
    """One finished round, as controllers and statistics see it.

    `agreement` and `found` are what a plan's `Skipping` asked for, where the draft could tell.
    `control_seconds` are spent on planning, lookup, analysis and statistics, `text_seconds` on
    detokenizing.
    """

    plan: Plan
    drafted: int
    accepted: int
    tokens: int  # tokens that the text kept
    draft: Draft | None = None  # without tensors
    path: Sequence[int] = ()  # rows of accepted tokens
    shadow: ShadowTokens | None = None
    agreement: float | None = None
    found: Skips | None = None
    draft_seconds: float = 0.0
    verify_seconds: float = 0.0
    control_seconds: float = 0.0
    text_seconds: float = 0.0
    position: int = 0  # tokens before the round, the prompt's included

    @property
    def depth(self) -> int:
        """Tokens of the draft's longest path."""
        parents = None if self.draft is None else self.draft.parents
        return self.drafted if parents is None else max(depths(parents))

    @property
    def confidences(self) -> Sequence[float]:
        """The confidence of each drafted token, where the plan reads confidences: see `Draft`."""
        return () if self.draft is None else self.draft.confidences

    def judged(self) -> Iterator[tuple[int, float, bool]]:
        """For each drafted token whose parent was kept: its rank, the confidence of the best child
        there, and whether the token was accepted. For other tokens that is unknown.
        """
        draft, stays = self.draft, {0, *self.path}
        if draft is not None and draft.confidences:
            for row, confidence in enumerate(draft.confidences, 1):
                if draft.parent_of(row) in stays:
                    rank = 0 if draft.ranks is None else draft.ranks[row - 1]
                    yield rank, confidence, row in stays

    @property
    def seconds(self) -> float:
        """All seconds of the round."""
        here = self.draft_seconds + self.verify_seconds
        return here + self.control_seconds + self.text_seconds

    def bare(self) -> "Round":
        """The round itself, or a copy without the large shadow tokens, which only controllers read.

        `copy.copy` and `dataclasses.replace` take several times as long.
        """
        if self.shadow is None:
            return self
        kept = Round.__new__(Round)
        vars(kept).update(vars(self), shadow=None)
        return kept
