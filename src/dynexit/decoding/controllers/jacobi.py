"""Jacobi decoding (Santilli et al. 2023, arXiv 2305.10427). The block moves on with the text.

All tokens of the block are guessed at once. A pass says what should follow each; what was right so
far is text, and the rest are the guesses of the next round.
"""

from dataclasses import dataclass

from dynexit.decoding.controllers.base import Controller, Length
from dynexit.decoding.plans import Plan


@dataclass
class Jacobi(Controller):
    """Guesses a fixed number of tokens; no layer runs for them but verification's."""

    drafters = ("jacobi",)

    speculation_length: Length = 5

    def plan(self) -> Plan:
        """Plan the same round each time."""
        return Plan(0, self.speculation_length, drafter="jacobi")


METHODS = {"jacobi": Jacobi}
