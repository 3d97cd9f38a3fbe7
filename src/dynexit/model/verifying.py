"""Verification in one call, where a model can: embedding, layers and head."""

from typing import Protocol, TypeGuard

from torch import Tensor

from dynexit.model.interface import Model, Span
from dynexit.model.readings import Readings


class VerifiesAlone(Model, Protocol):
    """A model that can."""

    def verify(self, given: list[int] | Tensor, span: Span, start: int, stop: int) -> Readings:
        """Run layers [start, stop) for the n rows of a span and read the whole head.

        Args:
            given: the rows' tokens, or the states [n, D] that left layer `start`: contiguous, and
                overwritten.

        Returns:
            What was read of each row, until the next call for the same cache.
        """


def verifies_alone(model: object) -> TypeGuard[VerifiesAlone]:
    """Whether a model can: asked every round, so it looks at the one name only."""
    return hasattr(model, "verify")
