"""The result of a draft that a model made in one call."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from dynexit.model.drafting_rule import Nodes


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
