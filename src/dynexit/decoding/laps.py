"""A lap timer."""

from collections.abc import Callable


class Laps:
    """Seconds of the phases of a round, one after the other.

    Attributes:
        total: of all laps so far.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._began, self.total = clock, clock(), 0.0

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self.total = self.total, self._clock() - self._began
        return self.total - before
