"""LayerSkip's self-speculative decoding (arXiv 2404.16710): a fixed exit and length."""

from dataclasses import dataclass

from dynexit.decoding.controllers.base import FixedExit, Length
from dynexit.decoding.facts import Facts
from dynexit.decoding.plans import Plan


@dataclass
class LayerSkip(FixedExit):
    """LS(E-d) of the DEL paper's tables."""

    speculation_length: Length = 6

    def start(self, facts: Facts) -> None:
        """Fix the plan."""
        super().start(facts)
        self._plan = Plan(self.exit, self.speculation_length)

    def plan(self) -> Plan:
        """Plan the same round each time."""
        return self._plan


METHODS = {"layerskip": LayerSkip}
