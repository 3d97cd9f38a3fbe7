"""What a model needs to know to draft on its own: one call instead of two for every token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Protocol, runtime_checkable

from torch import Tensor

from dynexit.model.interface import Cache


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
    """

    exit_layer: int
    length: int
    threshold: float = 0.0
    floors: Sequence[float] = ()
    odds: Sequence[float] = ()
    eos: frozenset[int] = frozenset()
    limit: int | None = None
    finish: bool = True

    @property
    def reads_confidence(self) -> bool:
        """Whether drafting may end by how sure it is."""
        return self.threshold > 0 or bool(self.floors)


@dataclass(frozen=True)
class Drafted:
    """A draft. Its d tokens may still be on their way from a device: asking for them waits.

    `hidden` [d + 1, D] left the exit layer for the token that they follow and for them (the last
    row means nothing where the rule does not finish), `states` [d + 1, E, D], if any, each layer.
    Where tokens are on their way, more rows may follow: drafted before it was known that the draft
    was over.
    """

    hidden: Tensor
    states: Tensor | None
    tell: Callable[[], tuple[list[int], list[float]]]

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


@runtime_checkable
class DraftsAlone(Protocol):
    """A model that can."""

    def draft(
        self, cache: Cache, start: int, token: int, rule: DraftingRule, states: bool
    ) -> Drafted:
        """Write on greedily after `token`, which stands at position `start`.

        Writes keys and values of layers [0, exit_layer) from there on. Confidences are NaN where
        logits are no numbers.
        """


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
    parts = (min(int(c * len(odds)), len(odds) - 1) for c in confidences)
    return prod(odds[part] for part in parts) < floors[len(confidences) - 1]
