"""DiffuSpec (Li et al. 2025, arXiv 2510.02358): how many masks the diffusion model gets.

Not responsible for drafts (`drafters/diffusion.py`).
"""

from dataclasses import dataclass
from math import ceil
from typing import Annotated

from dynexit.decoding.controllers.base import LONGEST, Controller, Share
from dynexit.decoding.facts import Facts
from dynexit.decoding.plans import Lattice, Plan
from dynexit.decoding.records import Round
from dynexit.errors import DynexitError
from dynexit.plain import Within

Count = Annotated[int, Within(1, LONGEST)]
Width = Annotated[int, Within(1, 16)]


@dataclass
class DiffuSpec(Controller):
    """Drafts a block as long as drafts have been of late, and `step` tokens longer when they were
    accepted whole; always `d_min` to `d_max` tokens. Both lengths are smoothed: the newest counts
    `rho`. A draft is shorter than its block where it ends the text.
    """

    drafters = ("diffusion",)
    second_model = "diffusion"

    d_min: Count = 20
    d_max: Count = 30
    step: Annotated[int, Within(0, LONGEST)] = 10
    rho: Share = 0.5
    mass: Share = 0.8  # probability that a position's candidates have together
    candidates: Annotated[int, Within(1, 64)] = 15  # of a position, at most
    beam: Width = 3
    paths: Width = 1  # of the beam that are verified, as one tree
    trigrams: Share = 0.5  # weight of the 3-gram model in a path's score
    recent: Annotated[int, Within(0, 1 << 20)] | None = None  # tokens read again; None: all

    def start(self, facts: Facts) -> None:
        """Forget the lengths of the last text.

        Raises:
            DynexitError: settings that contradict each other.
        """
        super().start(facts)
        for least, most in (("d_min", "d_max"), ("paths", "beam")):
            if (low := getattr(self, least)) > (high := getattr(self, most)):
                raise DynexitError(f"{least} is {low}: it must not be above {most}, {high}.")
        self._drafted = self._accepted = -1.0
        self._lattice = Lattice(
            *(self.mass, self.candidates, self.beam, self.paths, self.trigrams, self.recent)
        )

    def plan(self) -> Plan:
        """Plan a block."""
        length = ceil(self._drafted) + self.step * (0 <= self._drafted <= self._accepted)
        length = min(max(length, self.d_min), self.d_max)
        return Plan(0, length, drafter="diffusion", settings=self._lattice)

    def observe(self, finished: Round) -> None:
        """Smooth the lengths of what was drafted and of what was accepted."""
        if finished.drafted:
            rho = 1.0 if self._drafted < 0 else self.rho
            self._drafted += rho * (finished.depth - self._drafted)
            self._accepted += rho * (finished.accepted - self._accepted)


METHODS = {"diffuspec": DiffuSpec}
