"""What a model needs to know to draft on its own: one call instead of two for every token."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeGuard

from torch import Tensor

from dynexit.model.drafting_rule import DraftingRule, Nodes
from dynexit.model.interface import Cache, Model


@dataclass(frozen=True)
class Drafted:
    """A draft of d tokens, which may still be on their way from a device: asking for them waits.

    `hidden` [d + 1, D] left the exit layer for the token that they follow and for each of them
    (those of the last level mean nothing where the rule does not finish), `states` [d + 1, E, D],
    if any, each layer: then the draft is a chain. Where tokens are on their way, it is one, too,
    and more rows may follow: drafted before it was known that the draft was over.
    """

    hidden: Tensor
    states: Tensor | None
    tell: Callable[[], Nodes]

    @cached_property
    def nodes(self) -> Nodes:
        """The d tokens."""
        return self.tell()


class DraftsAlone(Model, Protocol):
    """A model that can."""

    def draft(
        self, cache: Cache, start: int, token: int, rule: DraftingRule, states: bool
    ) -> Drafted:
        """Write on greedily after `token`, which stands at position `start`.

        Writes keys and values of layers [0, exit_layer) from there on, those of rows that are not
        at home in slots from `rule.slot(start)` on. Rows whose logits are no numbers have no
        children.

        Args:
            states: keep the states of each layer; for a chain alone.
        """


def drafts_alone(model: object) -> TypeGuard[DraftsAlone]:
    """Whether a model can: asked every round, so it looks at the one name only."""
    return hasattr(model, "draft")
