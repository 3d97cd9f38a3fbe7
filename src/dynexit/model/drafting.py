"""What a model needs to know to draft on its own: one call instead of two for every token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import NamedTuple, Protocol, TypeGuard

from torch import Tensor

from dynexit.model.interface import Cache, Model


@dataclass(frozen=True)
class DraftingRule:
    """How to draft, and until when.

    Attributes:
        exit_layer: a token's pass runs layers [0, exit_layer).
        length: of the longest draft.
        threshold: drafting ends after a token that is less likely than this.
        odds: how often a token is accepted, by how likely it is: one number for each of as many
            equal parts of 0 to 1.
        floors: drafting ends after n tokens where the product of their odds is below `floors[n-1]`.
        eos: drafting ends after one of these.
        limit: so many tokens of the head are read; None is all.
        finish: whether the last token runs through the layers, too: its state is wanted.
        leaf_odds: how often a token's second choice is right instead, in parts as `odds`; none
            where no leaves are wanted.
        leaf_floor: a second choice becomes a leaf where its own odds times those of the tokens
            before are at least this.
    """

    exit_layer: int
    length: int
    threshold: float = 0.0
    floors: Sequence[float] = ()
    odds: Sequence[float] = ()
    eos: frozenset[int] = frozenset()
    limit: int | None = None
    finish: bool = True
    leaf_odds: Sequence[float] = ()
    leaf_floor: float = 0.0

    @property
    def reads_confidence(self) -> bool:
        """Whether drafting may end by how sure it is."""
        return self.threshold > 0 or bool(self.floors)

    def ends_after(self, tokens: Sequence[int], confidences: Sequence[float]) -> bool:
        """Whether a draft that is so far is long enough."""
        whole = len(tokens) == self.length or (bool(tokens) and tokens[-1] in self.eos)
        if whole or not tokens:
            return whole
        return is_unsure(confidences, self.threshold, self.floors, self.odds)


class Leaf(NamedTuple):
    """A second choice: `token` might stand where drafted token number `place`, from 0, does."""

    place: int
    token: int


@dataclass(frozen=True)
class Drafted:
    """A draft, and l leaves. Its d tokens may still be on their way from a device: asking for them
    waits.

    `hidden` [d + 1 + l, D] left the exit layer for the token that they follow, for them and for
    the leaves (the token's that was drafted last, and its leaf's, mean nothing where the rule does
    not finish), `states` [d + 1, E, D], if any, each layer: then there are no leaves. Where tokens
    are on their way, there are none either, and more rows may follow: drafted before it was known
    that the draft was over.
    """

    hidden: Tensor
    states: Tensor | None
    tell: Callable[[], tuple[list[int], list[float]]]
    leaves: list[Leaf] = field(default_factory=list)

    @cached_property
    def _told(self) -> tuple[list[int], list[float]]:
        return self.tell()

    @property
    def tokens(self) -> list[int]:
        """The d tokens."""
        return self._told[0]

    @property
    def confidences(self) -> list[float]:
        """How likely each was."""
        return self._told[1]


class DraftsAlone(Model, Protocol):
    """A model that can."""

    def draft(
        self, cache: Cache, start: int, token: int, rule: DraftingRule, states: bool
    ) -> Drafted:
        """Write on greedily after `token`, which stands at position `start`.

        Writes keys and values of layers [0, exit_layer) from there on, those of leaves in slots
        from `start + rule.length + 1` on. Ends before a token whose logits are no numbers.
        """


def drafts_alone(model: object) -> TypeGuard[DraftsAlone]:
    """Whether a model can: asked every round, so it looks at the one name only."""
    return hasattr(model, "draft")


def is_unsure(
    confidences: Sequence[float],
    threshold: float,
    floors: Sequence[float],
    odds: Sequence[float],
) -> bool:
    """Whether a draft of tokens that are this sure is long enough, by a rule's numbers."""
    if confidences[-1] < threshold:
        return True
    if len(confidences) > len(floors):
        return False
    return prod(odds[part_of(c, len(odds))] for c in confidences) < floors[len(confidences) - 1]


def part_of(confidence: float, parts: int) -> int:
    """Which of so many equal parts of 0 to 1 a confidence lies in, counted from 0."""
    return min(int(confidence * parts), parts - 1)
