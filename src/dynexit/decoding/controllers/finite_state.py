"""FS: a fixed exit, and a speculation length that counts up and down (DEL, section 5)."""

from dataclasses import dataclass

from dynexit.decoding.controllers.base import LONGEST, FixedExit, Length
from dynexit.decoding.facts import Facts
from dynexit.decoding.records import Plan, Round


@dataclass
class FiniteState(FixedExit):
    """One longer after a draft that was accepted whole, one shorter otherwise.

    It may reach 0, a plain step, after which it returns to 1, and at most `LONGEST`. Starts anew
    for every prompt.
    """

    speculation_length: Length = 6

    def start(self, facts: Facts) -> None:
        """Back to the length that the user set."""
        super().start(facts)
        self.length = self.speculation_length

    def plan(self) -> Plan:
        """The current length."""
        return Plan(self.exit, self.length)

    def observe(self, finished: Round) -> None:
        """Count up or down."""
        whole = finished.accepted == finished.drafted
        # a plain step counts as whole: never below 0
        self.length = min(self.length + 1, LONGEST) if whole else self.length - 1


METHODS = {"finite-state": FiniteState}
