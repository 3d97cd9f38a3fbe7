"""Two-model speculative decoding: a smaller model drafts a fixed number of tokens.

Source: Leviathan et al. 2023. The baseline for self-speculation.
"""

from dataclasses import dataclass

from dynexit.decoding.controllers.base import Controller, Length
from dynexit.decoding.plans import Plan


@dataclass
class TwoModel(Controller):
    """Drafts a fixed number of tokens with a draft model; no layer of the target runs for it."""

    drafters = ("second-model",)
    second_model = "causal"

    speculation_length: Length = 6

    def plan(self) -> Plan:
        """Plan the same round each time."""
        return Plan(0, self.speculation_length, drafter="second-model")


METHODS = {"two-model": TwoModel}
