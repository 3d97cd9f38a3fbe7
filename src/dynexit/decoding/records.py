"""What passes between the phases of a round, and what is kept of it.

The words, used everywhere and nowhere in another sense:

- draft: d tokens guessed by the first E layers; verify: one pass of the target over all of them;
  accept: keep the longest prefix that the target would have written itself.
- exit layer E: how many layers a draft runs, counted from 1. Speculation length d: its tokens.
- tree: a draft's tokens; each is a node, a child of the token that it follows. Row 0 of a round is
  the newest committed token, row i the i-th node. A chain is a tree without branches.
- accepted: a drafted token that the target agrees with; lookup: one of them that was looked up in
  the text; earlier: one that followed in an earlier text; table: one that a table of likely next
  tokens named; grammar: one that the text's grammar left no choice about.
  Rejected: the first one it does not; nothing after it counts.
  Recovered: the target's own token in the place of rejected ones.
  Bonus: the target's token after a path that was accepted to its end. Target: a token of a plain
  step.
- shadow token: what a layer would have predicted at a position that is computed anyway.
- confidence: the probability of the token that was chosen.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dynexit import rates
from dynexit.model.drafting_rule import DraftingRule, Nodes, Pricing, depths

if TYPE_CHECKING:
    from torch import Tensor

SECONDS = ("draft_seconds", "verify_seconds", "control_seconds", "text_seconds")
Source = Literal[
    "accepted", "lookup", "earlier", "table", "grammar", "recovered", "bonus", "target"
]
FinishReason = Literal["stop", "length", "context"]


@dataclass(frozen=True)
class Plan:
    """What a controller wants of the next round. A speculation length of 0 is a plain step.

    A draft has at most `speculation_length` levels. Without `pricing` it is a chain. With it, it is
    a tree where one can be verified, and else a chain whose tokens must be worth as much. A token
    whose confidence is below `threshold` has no children, but is verified. A drafter that runs none
    of the target's layers has exit layer 0.

    `shadow` are the layers whose shadow tokens the round brings; None is all that the controller
    reads.
    """

    exit_layer: int = 1
    speculation_length: int = 0
    threshold: float | None = None
    drafter: str = "early-exit"
    pricing: Pricing | None = None
    shadow: tuple[int, ...] | None = None

    @property
    def reads_confidence(self) -> bool:
        """Whether drafting may end by how sure it is."""
        return self.threshold is not None or self.pricing is not None

    def with_children(self, most: int) -> "Plan":
        """The same where a token has so many children at most."""
        if self.pricing is None or most >= len(self.pricing.odds):
            return self
        return replace(self, pricing=self.pricing.with_children(most))

    def rule(self, **more: Any) -> DraftingRule:
        """As a model knows it."""
        length, threshold = self.speculation_length, self.threshold or 0.0
        return DraftingRule(self.exit_layer, length, threshold, self.pricing, **more)


PLAIN_STEP = Plan()


@dataclass
class Draft:
    """Tokens that a drafter proposes.

    `hidden` are the states that left layer `layer` for the newest committed token and all drafted
    ones: verification continues from there. A drafter that runs none of the target's layers leaves
    `layer` at 0. Without `parents` the draft is a chain; with them token i is a child of row
    `parents[i]`, where row 0 is the newest committed token and row i + 1 is token i, and keys and
    values of rows that are not at home (`model.interface.Span`) are kept from slot `slot` on.

    The first `certain` tokens are all that the grammar allows where they stand: the target need not
    be asked what it would choose there.

    Where `tell` is given, tokens are unknown until the draft has arrived. Verification is asked for
    before that, so that the device has something to do.
    """

    tokens: list[int] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    parents: list[int] | None = None
    ranks: list[int] | None = None  # of each token among its parent's children, from 0
    layer: int = 0
    hidden: "Tensor | None" = None  # [d + 1, D]
    states: "Tensor | None" = None  # [d + 1, E, D], of layers 1..E, for who reads shadow tokens
    logits: "list[Tensor]" = field(default_factory=list)  # processed, [1, V]; speculative only
    slot: int = 0
    sources: list[Source] | None = None  # of each token; None is "accepted"
    certain: int = 0
    tell: Callable[[], Nodes] | None = None

    def arrive(self) -> None:
        """Wait for tokens that are still on their way from a device."""
        if self.tell is not None:
            self.take(self.tell())
            self.tell = None

    def take(self, nodes: Nodes) -> None:
        """Tokens that a model has drafted."""
        self.tokens, self.confidences = nodes.tokens, nodes.confidences
        if any(parent != row for row, parent in enumerate(nodes.parents)):
            self.parents, self.ranks = nodes.parents, nodes.ranks

    def bare(self) -> "Draft | None":
        """Without what is large; nothing where there are no tokens."""
        if not self.tokens:
            return None
        return Draft(self.tokens, self.confidences, self.parents, self.ranks)

    def path_to(self, row: int) -> list[int]:
        """The tokens of row `row` and of all that it follows, the first one first."""
        path = []
        while row:
            path.append(self.tokens[row - 1])
            row = self.parent_of(row)
        return path[::-1]

    def source_of(self, row: int) -> Source:
        """What the token of row `row` is called, once accepted."""
        return "accepted" if self.sources is None else self.sources[row - 1]

    def parent_of(self, row: int) -> int:
        """The row that row `row` follows."""
        return row - 1 if self.parents is None else self.parents[row - 1]


class Verdict(NamedTuple):
    """The outcome of a verification: the rows of accepted drafts, each the parent of the next, then
    one token of the target's. `whole`: the last of them has no children.
    """

    path: Sequence[int]
    token: int
    drafted: int
    whole: bool = False

    @property
    def accepted(self) -> int:
        """How many tokens are."""
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

    `matched[k, i]`: layer `layers[k]` chose what the target chose at position i; `confidence`: of
    its own choice. Both [len(layers), n].
    """

    matched: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    layers: tuple[int, ...] = ()


class Evidence(NamedTuple):
    """By kind, how often it was right, and how often it was seen."""

    right: Sequence[int]
    seen: Sequence[int]


class Offer(Protocol):
    """What proposers have at hand before a round, at no cost: a tree that grows as far as a
    controller lets it.

    Attributes:
        priors: of each proposer, how often each kind of its evidence for a token is right before
            anything is seen.
        size, depth: tokens that it has, and those of its longest path.
    """

    priors: tuple[tuple[float, ...], ...]
    size: int
    depth: int

    def grow(self, odds: Sequence[float], floors: Sequence[float]) -> float:
        """Add the likeliest token again and again, while its chance is worth its row.

        Args:
            odds: of each kind of evidence, of one proposer after the other.
            floors: what the first, second, ... token must be worth; never falling.

        Returns:
            How many of its tokens are expected to be accepted.
        """

    def draft(self, depth: int) -> Draft:
        """The tree's first levels."""

    def evidence(self) -> Evidence:
        """What the text has said since this was last asked of the trees that grew, as far as it
        went on in them, drafted or not.
        """


@dataclass
class Round:
    """One finished round, as controllers and statistics see it.

    `control_seconds` are those of planning, lookup, analysis and statistics; `text_seconds` those
    of bringing tokens to text.
    """

    plan: Plan
    drafted: int
    accepted: int
    tokens: int  # that the text kept
    draft: Draft | None = None  # without tensors
    path: Sequence[int] = ()  # rows of accepted tokens
    shadow: ShadowTokens | None = None
    draft_seconds: float = 0.0
    verify_seconds: float = 0.0
    control_seconds: float = 0.0
    text_seconds: float = 0.0

    @property
    def depth(self) -> int:
        """Tokens of the draft's longest path."""
        parents = None if self.draft is None else self.draft.parents
        return self.drafted if parents is None else max(depths(parents))

    @property
    def confidences(self) -> Sequence[float]:
        """Of each drafted token, where the plan reads them: see `Draft`."""
        return () if self.draft is None else self.draft.confidences

    def judged(self) -> Iterator[tuple[int, float, bool]]:
        """Of drafted tokens whose parent stayed: rank, confidence of the best child there, and
        whether the token was accepted. Nothing is known of the others.
        """
        draft, stays = self.draft, {0, *self.path}
        if draft is not None and draft.confidences:
            for row, confidence in enumerate(draft.confidences, 1):
                if draft.parent_of(row) in stays:
                    rank = 0 if draft.ranks is None else draft.ranks[row - 1]
                    yield rank, confidence, row in stays

    @property
    def seconds(self) -> float:
        """All of them."""
        here = self.draft_seconds + self.verify_seconds
        return here + self.control_seconds + self.text_seconds

    def bare(self) -> "Round":
        """Itself, or a copy without what is large and only its controller reads.

        `copy.copy` and `dataclasses.replace` take several times as long.
        """
        if self.shadow is None:
            return self
        kept = Round.__new__(Round)
        vars(kept).update(vars(self), shadow=None)
        return kept


@dataclass
class Statistics:
    """Raw counters of one generation; every rate is derived. The prefill's token is in none.

    `cached_tokens` are those of the prompt that were read before, by another text.
    """

    num_layers: int
    rounds: list[Round] = field(default_factory=list)
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    cached_tokens: int = 0

    @property
    def drafted(self) -> int:
        """Drafted tokens."""
        return sum(r.drafted for r in self.rounds)

    @property
    def accepted(self) -> int:
        """Drafted tokens that the target agreed with."""
        return sum(r.accepted for r in self.rounds)

    @property
    def tokens(self) -> int:
        """Tokens of the text that rounds produced."""
        return sum(r.tokens for r in self.rounds)

    @property
    def acceptance_rate(self) -> float:
        """Share of drafted tokens that were accepted; 0 where nothing was drafted."""
        return rates.acceptance_rate(self.accepted, self.drafted) or 0.0

    @property
    def mean_acceptance_length(self) -> float:
        """Tokens per round; 0 without rounds."""
        return rates.mean_acceptance_length(self.accepted, len(self.rounds)) or 0.0

    @property
    def etpl(self) -> float:
        """Effective tokens per layer; 0 without rounds."""
        drafted_layers = sum(r.plan.exit_layer * r.drafted for r in self.rounds)
        return rates.etpl(self.tokens, drafted_layers, len(self.rounds), self.num_layers) or 0.0

    @property
    def tokens_per_second(self) -> float:
        """Of decoding alone, without prefill."""
        return rates.tokens_per_second(self.tokens, self.decode_seconds) or 0.0

    @property
    def acceptance_by_position(self) -> list[float]:
        """Share of rounds with a draft of 1, 2, ... levels in which a token there was accepted."""
        depths = [r.depth for r in self.rounds]
        longest = max(depths, default=0)
        drafted = [sum(depth > i for depth in depths) for i in range(longest)]
        accepted = [sum(r.accepted > i for r in self.rounds) for i in range(longest)]
        return [a / d for a, d in zip(accepted, drafted, strict=True)]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "num_layers": self.num_layers,
            "rounds": len(self.rounds),
            "drafted": self.drafted,
            "accepted": self.accepted,
            "tokens": self.tokens,
            "acceptance_rate": self.acceptance_rate,
            "mean_acceptance_length": self.mean_acceptance_length,
            "etpl": self.etpl,
            "cached_tokens": self.cached_tokens,
            "prefill_seconds": self.prefill_seconds,
            "decode_seconds": self.decode_seconds,
            "tokens_per_second": self.tokens_per_second,
            "acceptance_by_position": self.acceptance_by_position,
            "round_records": _columns(self.rounds),
        }


def _columns(rounds: Sequence[Round]) -> dict[str, list[Any]]:
    """One list per number, as long as there are rounds: half the size of one object per round."""
    return {
        "drafter": [r.plan.drafter if r.drafted else None for r in rounds],
        "exit_layer": [r.plan.exit_layer if r.drafted else None for r in rounds],
        "threshold": [_rounded(r.plan.threshold) if r.drafted else None for r in rounds],
        "drafted": [r.drafted for r in rounds],
        "accepted": [r.accepted for r in rounds],
        "depth": [r.depth for r in rounds],
        "tokens": [r.tokens for r in rounds],
        **{name: [_rounded(getattr(r, name)) for r in rounds] for name in SECONDS},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
