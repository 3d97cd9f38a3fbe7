"""How a draft is written, and when it is long enough: numbers alone, without PyTorch."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple


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
