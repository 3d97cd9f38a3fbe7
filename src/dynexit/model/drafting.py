"""What a model needs to know to draft on its own: one call instead of two for every token."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeGuard

from torch import Tensor

from dynexit.model.drafting_rule import DraftingRule, Leaf
from dynexit.model.interface import Cache, Model


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
        from `start + rule.length + 1` on. Confidences are NaN where logits are no numbers.
        """


def drafts_alone(model: object) -> TypeGuard[DraftsAlone]:
    """Whether a model can: asked every round, so it looks at the one name only."""
    return hasattr(model, "draft")
