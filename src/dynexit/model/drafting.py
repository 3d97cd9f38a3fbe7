"""What a model needs to know to draft on its own: one call instead of two for every token."""

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Drafted:
    """d tokens and how likely each was.

    `hidden` [d + 1, D] left the exit layer for the token that they follow and for them (the last
    row means nothing where the rule does not finish), `states` [d + 1, E, D], if any, each layer.
    """

    tokens: list[int]
    confidences: list[float]
    hidden: Tensor
    states: Tensor | None


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
