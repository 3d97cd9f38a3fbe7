"""FS: a fixed exit, and a speculation length that counts up and down (DEL, section 5)."""

from dataclasses import dataclass

from dynexit.decoding.controllers.base import FixedExit, check_length
from dynexit.decoding.records import Plan, Round


@dataclass
class FiniteState(FixedExit):
    """One longer after a draft that was accepted whole, one shorter otherwise.

    It may reach 0, a plain step, after which it returns to 1. Starts anew for every prompt.
    """

    speculation_length: int = 6

    def start(self, num_layers: int) -> None:
        """Back to the length that the user set."""
        super().start(num_layers)
        check_length(self.speculation_length)
        self.length = self.speculation_length

    def plan(self) -> Plan:
        """The current length."""
        return Plan(self.exit, self.length)

    def observe(self, finished: Round) -> None:
        """Count up or down."""
        whole = finished.accepted == finished.drafted
        self.length += 1 if whole else -1  # a plain step counts as whole: never below 0


METHODS = {"finite-state": FiniteState}
