"""Two-model speculative decoding: a smaller model drafts a fixed number of tokens.

Source: Leviathan et al. 2023. What self-speculation is compared with.
"""

from dataclasses import dataclass

from dynexit.decoding.controllers.base import Controller, Length
from dynexit.decoding.records import Plan


@dataclass
class TwoModel(Controller):
    """A fixed speculation length; the draft runs none of the target's layers."""

    drafters = ("second-model",)

    speculation_length: Length = 6

    def plan(self) -> Plan:
        """The same every round."""
        return Plan(0, self.speculation_length, drafter="second-model")


METHODS = {"two-model": TwoModel}
