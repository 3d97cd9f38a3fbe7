"""Two-model speculative decoding: a smaller model drafts a fixed number of tokens.

Source: Leviathan et al. 2023. What self-speculation is compared with.
"""

from dataclasses import dataclass

from dynexit.decoding.controllers.base import Controller, check_length
from dynexit.decoding.records import Plan


@dataclass
class TwoModel(Controller):
    """A fixed speculation length; the draft runs none of the target's layers."""

    drafters = ("second-model",)

    speculation_length: int = 6

    def start(self, num_layers: int) -> None:
        """Checks the length."""
        super().start(num_layers)
        check_length(self.speculation_length)

    def plan(self) -> Plan:
        """The same every round."""
        return Plan(0, self.speculation_length, drafter="second-model")


METHODS = {"two-model": TwoModel}
