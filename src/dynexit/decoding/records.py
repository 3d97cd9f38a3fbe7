"""The records that pass between the phases of a round, and the statistics kept of them.

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
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dynexit import rates
from dynexit.model.drafting_rule import DraftingRule, Nodes, Pricing, depths
from dynexit.model.skips import Skips

if TYPE_CHECKING:
    from torch import Tensor

SECONDS = ("draft_seconds", "verify_seconds", "control_seconds", "text_seconds")
Source = Literal[
    "accepted", "lookup", "earlier", "table", "grammar", "recovered", "bonus", "target"
]
FinishReason = Literal["stop", "length", "context"]


class Skipping(NamedTuple):
    """What a draft leaves out of the whole model, and what its drafter finds out before it.

    Attributes:
        skips: sublayers that the draft leaves out, unless others are searched for and found.
        trial: sublayers to judge, by how many of the text's last `window` tokens one pass without
            them reproduces: the round's `agreement`.
        budget: share of the time of a whole pass; sublayers are searched for that leave no more:
            the round's `found`.
    """

    skips: Skips
    trial: Skips | None = None
    window: int = 32
    budget: float | None = None


class LookaheadSize(NamedTuple):
    """How wide a round of lookahead decoding is.

    Attributes:
        window: columns of guesses; 0 is none.
        ngram: tokens of an n-gram, the one that it follows included.
        pool: n-grams that are verified, at most.
    """

    window: int
    ngram: int
    pool: int


@dataclass(frozen=True)
class Plan:
    """A controller's choice for the next round. A speculation length of 0 is a plain step.

    A draft has at most `speculation_length` levels. Without `pricing` it is a chain. With it, it is
    a tree where the runtime can verify one, else a chain whose tokens must be worth as much. A
    token whose confidence is below `threshold` is verified but has no children. A drafter that runs
    none of the target's layers has exit layer 0. With `skipping`, a draft leaves out sublayers of
    all layers, and the exit layer is how many layers the others amount to.

    `shadow` lists the layers whose shadow tokens the round returns; None is all layers that the
    controller reads. `lookahead` is for the drafter of that name, which needs it.
    """

    exit_layer: int = 1
    speculation_length: int = 0
    threshold: float | None = None
    drafter: str = "early-exit"
    pricing: Pricing | None = None
    shadow: tuple[int, ...] | None = None
    lookahead: LookaheadSize | None = None
    skipping: Skipping | None = None

    @property
    def reads_confidence(self) -> bool:
        """Whether confidences may end the draft."""
        return self.threshold is not None or self.pricing is not None

    def with_children(self, most: int) -> "Plan":
        """The same plan with at most `most` children per token."""
        if self.pricing is None or most >= len(self.pricing.odds):
            return self
        return replace(self, pricing=self.pricing.with_children(most))

    def rule(self, **more: Any) -> DraftingRule:
        """The plan as a model's `DraftingRule`."""
        length, threshold = self.speculation_length, self.threshold or 0.0
        return DraftingRule(self.exit_layer, length, threshold, self.pricing, **more)


PLAIN_STEP = Plan()


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


@dataclass
class Statistics:
    """Raw counters of one generation; every rate is derived. The prefill's token is not counted.

    `cached_tokens` are tokens of the prompt that came from the prefix cache.
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
        """Decoding speed, without prefill."""
        return rates.tokens_per_second(self.tokens, self.decode_seconds) or 0.0

    @property
    def acceptance_by_position(self) -> list[float]:
        """Per level 1, 2, ...: the share of rounds with that level that accepted a token there."""
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
    """One list per field, with one entry per round: half the size of one object per round."""
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
