"""What passes between the phases of a round, and what is kept of it.

The words, used everywhere and nowhere in another sense:

- draft: d tokens guessed by the first E layers; verify: one pass of the target over all of them;
  accept: keep the longest prefix that the target would have written itself.
- exit layer E: how many layers a draft runs, counted from 1. Speculation length d: its tokens.
- leaf: a drafted token's second choice, verified beside it. Where the token is rejected and the
  leaf is what the target chose, the leaf is accepted, and the round goes on behind it.
- accepted: a drafted token that the target agrees with; lookup: one of them that was looked up in
  the text. Rejected: the first one it does not; nothing after it counts. Recovered: the target's
  own token in the place of a rejected one. Bonus: the target's token after a draft that was
  accepted whole, or after a leaf. Target: a token of a plain step.
- shadow token: what a layer would have predicted at a position that is computed anyway.
- confidence: the probability of the token that was chosen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynexit import rates
from dynexit.model.drafting_rule import Leaf, is_unsure

if TYPE_CHECKING:
    from torch import Tensor

SECONDS = ("draft_seconds", "verify_seconds", "control_seconds", "text_seconds")
Source = Literal["accepted", "lookup", "recovered", "bonus", "target"]
FinishReason = Literal["stop", "length", "context"]


@dataclass(frozen=True)
class Plan:
    """What a controller wants of the next round. A speculation length of 0 is a plain step.

    Drafting ends after the first token whose confidence is below `threshold` (that token is still
    verified), after n tokens where the chance that all of them are accepted is below `floors[n-1]`,
    and at the latest after `speculation_length` tokens. A token's chance is read off `odds` by its
    confidence: one number for each of as many equal parts of 0 to 1. A drafter that runs none of
    the target's layers has exit layer 0.

    A token's second choice is drafted beside it where the odds of the tokens before it, times its
    own in `leaf_odds` by the token's confidence (as many numbers as `odds`), are at least
    `leaf_floor`; where nobody can use a leaf, none is drafted.

    `shadow` are the layers whose shadow tokens the round brings; None is all that the controller
    reads.
    """

    exit_layer: int = 1
    speculation_length: int = 0
    threshold: float | None = None
    drafter: str = "early-exit"
    floors: tuple[float, ...] = ()
    odds: tuple[float, ...] = ()
    shadow: tuple[int, ...] | None = None
    leaf_odds: tuple[float, ...] = ()
    leaf_floor: float = 0.0

    @property
    def reads_confidence(self) -> bool:
        """Whether drafting may end by how sure it is."""
        return self.threshold is not None or bool(self.floors)

    def ends_with(self, confidences: Sequence[float]) -> bool:
        """Whether a draft of tokens that are this sure is long enough."""
        return is_unsure(confidences, self.threshold or 0.0, self.floors, self.odds)


PLAIN_STEP = Plan()


@dataclass
class Draft:
    """Tokens that a drafter proposes.

    `hidden` are the states that left layer `layer` for the newest committed token and all drafted
    ones, leaves last: verification continues from there. A drafter that runs none of the target's
    layers leaves `layer` at 0. Keys and values of leaves are kept from slot `slot` of the cache on.

    Where `tell` is given, tokens are unknown until the draft has arrived. Verification is asked for
    before that, so that the device has something to do.
    """

    tokens: list[int] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    layer: int = 0
    hidden: "Tensor | None" = None  # [d + 1 + leaves, D]
    states: "Tensor | None" = None  # [d + 1, E, D], of layers 1..E, for who reads shadow tokens
    logits: "list[Tensor]" = field(default_factory=list)  # processed, [1, V]; speculative only
    leaves: list[Leaf] = field(default_factory=list)
    slot: int = 0
    tell: Callable[[], tuple[list[int], list[float]]] | None = None

    def arrive(self) -> None:
        """Wait for tokens and confidences that are still on their way from a device."""
        if self.tell is not None:
            (self.tokens, self.confidences), self.tell = self.tell(), None

    def kept(self, verdict: "Verdict") -> list[int]:
        """Drafted tokens that stay."""
        leaf = [] if verdict.leaf is None else [self.leaves[verdict.leaf].token]
        return self.tokens[: verdict.accepted] + leaf


class Verdict(NamedTuple):
    """The outcome of a verification: `accepted` drafts, perhaps leaf number `leaf`, then one token
    of the target's.
    """

    accepted: int
    token: int
    drafted: int
    leaf: int | None = None

    @property
    def source(self) -> Source:
        """Where the last token came from."""
        if self.drafted == 0:
            return "target"
        whole = self.accepted == self.drafted or self.leaf is not None
        return "bonus" if whole else "recovered"


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


class Offer(NamedTuple):
    """Tokens that a drafter has at hand before the round, at no cost: the text's last `match`
    tokens stood elsewhere with these after them.
    """

    tokens: Sequence[int]
    match: int


class Judged(NamedTuple):
    """An offer after the round: of its first `seen` tokens, the text went on with `agreed`."""

    match: int
    agreed: int
    seen: int


@dataclass
class Round:
    """One finished round, as controllers and statistics see it.

    `drafted` and `accepted` count a draft's tokens without its leaves: they stand beside the tokens
    `leaf_places`, from 0.

    `control_seconds` are those of planning, lookup, analysis and statistics; `text_seconds` those
    of bringing tokens to text.
    """

    plan: Plan
    drafted: int
    accepted: int
    tokens: int  # that the text kept
    draft_tokens: Sequence[int] = ()
    confidences: Sequence[float] = ()
    shadow: ShadowTokens | None = None
    offer: Judged | None = None
    leaf_places: Sequence[int] = ()
    leaf_accepted: bool = False
    draft_seconds: float = 0.0
    verify_seconds: float = 0.0
    control_seconds: float = 0.0
    text_seconds: float = 0.0

    @property
    def all_drafted(self) -> int:
        """Drafted tokens, with leaves."""
        return self.drafted + len(self.leaf_places)

    @property
    def all_accepted(self) -> int:
        """Accepted tokens, with a leaf."""
        return self.accepted + self.leaf_accepted

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
    """Raw counters of one generation; every rate is derived. The prefill's token is in none."""

    num_layers: int
    rounds: list[Round] = field(default_factory=list)
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0

    @property
    def drafted(self) -> int:
        """Drafted tokens, leaves counted in."""
        return sum(r.all_drafted for r in self.rounds)

    @property
    def accepted(self) -> int:
        """Drafted tokens that the target agreed with."""
        return sum(r.all_accepted for r in self.rounds)

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
        drafted_layers = sum(r.plan.exit_layer * r.all_drafted for r in self.rounds)
        return rates.etpl(self.tokens, drafted_layers, len(self.rounds), self.num_layers) or 0.0

    @property
    def tokens_per_second(self) -> float:
        """Of decoding alone, without prefill."""
        return rates.tokens_per_second(self.tokens, self.decode_seconds) or 0.0

    @property
    def acceptance_by_position(self) -> list[float]:
        """Share of drafts at position 1, 2, ... of a round that were accepted; no leaves."""
        longest = max((r.drafted for r in self.rounds), default=0)
        drafted = [sum(r.drafted > i for r in self.rounds) for i in range(longest)]
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
            "prefill_seconds": self.prefill_seconds,
            "decode_seconds": self.decode_seconds,
            "tokens_per_second": self.tokens_per_second,
            "acceptance_by_position": self.acceptance_by_position,
            "round_records": _columns(self.rounds),
        }


def _columns(rounds: Sequence[Round]) -> dict[str, list[Any]]:
    """One list per number, as long as there are rounds: half the size of one object per round.

    Leaves are counted in as drafted and accepted.
    """
    return {
        "drafter": [r.plan.drafter if r.drafted else None for r in rounds],
        "exit_layer": [r.plan.exit_layer if r.drafted else None for r in rounds],
        "threshold": [_rounded(r.plan.threshold) if r.drafted else None for r in rounds],
        "drafted": [r.all_drafted for r in rounds],
        "accepted": [r.all_accepted for r in rounds],
        "leaves": [len(r.leaf_places) for r in rounds],
        "tokens": [r.tokens for r in rounds],
        **{name: [_rounded(getattr(r, name)) for r in rounds] for name in SECONDS},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
