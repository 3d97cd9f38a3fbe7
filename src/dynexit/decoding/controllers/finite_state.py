"""FS: a fixed exit, and a speculation length that counts up and down (DEL, section 5)."""

from dataclasses import dataclass

from dynexit.decoding.controllers.base import LONGEST, FixedExit, Length
from dynexit.decoding.facts import Facts
from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Round


@dataclass
class FiniteState(FixedExit):
    """Lengthens the draft by one after full acceptance, and shortens it by one otherwise.

    The length is between 0, a plain step, after which it returns to 1, and `LONGEST`. Every prompt
    starts anew.
    """

    speculation_length: Length = 6

    def start(self, facts: Facts) -> None:
        """Reset to the length that the user set."""
        super().start(facts)
        self.length = self.speculation_length

    def plan(self) -> Plan:
        """Plan with the current length."""
        return Plan(self.exit, self.length)

    def observe(self, finished: Round) -> None:
        """Count up or down."""
        whole = finished.accepted == finished.drafted
        # a plain step counts as whole: never below 0
        self.length = min(self.length + 1, LONGEST) if whole else self.length - 1


METHODS = {"finite-state": FiniteState}
