"""DV: Draft & Verify's adaptive confidence threshold at a fixed exit (Zhang et al. 2023)."""

from dataclasses import dataclass

from dynexit.decoding.controllers.base import FixedExit, Length, Share
from dynexit.decoding.facts import Facts
from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Round


@dataclass
class Adaptive:
    """A threshold, gamma, that follows the acceptance rate of a prompt's drafts."""

    gamma: float
    target_rate: float = 0.8
    step: float = 0.01
    rate_memory: float = 0.5
    gamma_memory: float = 0.9

    def __post_init__(self) -> None:
        self._rate: float | None = None
        self.begin()

    def begin(self) -> None:
        """Begin a prompt, which has counts of its own."""
        self._drafted = self._accepted = 0

    def observe(self, finished: Round) -> None:
        """Smooth the prompt's acceptance rate, then move gamma towards the target rate."""
        self._drafted += finished.drafted
        self._accepted += finished.accepted
        if not self._drafted:
            return
        rate = self._accepted / self._drafted
        memory = self.rate_memory
        self._rate = rate if self._rate is None else memory * self._rate + (1 - memory) * rate
        moved = self.gamma + (self.step if self._rate < self.target_rate else -self.step)
        self.gamma = self.gamma_memory * self.gamma + (1 - self.gamma_memory) * moved


@dataclass
class DraftVerify(FixedExit):
    """Drafts until the confidence falls below gamma, which follows the acceptance rate.

    With `carry`, gamma and the smoothed rate are kept from prompt to prompt, as in the published
    runs; otherwise every prompt starts anew. The original Draft & Verify drafts with sublayers left
    out instead of an exit: that is `skip:adaptive=true`.
    """

    speculation_length: Length = 18
    gamma: Share = 0.6
    target_rate: Share = 0.8
    step: Share = 0.01
    rate_memory: Share = 0.5
    gamma_memory: Share = 0.9
    carry: bool = False

    def __post_init__(self) -> None:
        self._threshold = self._fresh()

    def _fresh(self) -> Adaptive:
        memories = self.rate_memory, self.gamma_memory
        return Adaptive(self.gamma, self.target_rate, self.step, *memories)

    def start(self, facts: Facts) -> None:
        """Reset the prompt's own counts, and the rest unless `carry` is set."""
        super().start(facts)
        if self.carry:
            self._threshold.begin()
        else:
            self._threshold = self._fresh()

    def plan(self) -> Plan:
        """Plan with the current threshold."""
        return Plan(self.exit, self.speculation_length, self._threshold.gamma)

    def observe(self, finished: Round) -> None:
        """Move gamma."""
        self._threshold.observe(finished)


METHODS = {"draft-verify": DraftVerify}
