"""CLaSp: searches again and again for the sublayers that drafts leave out (Chen et al. 2025).

Each search is a dynamic program over cosine similarities to the whole model's states, under a
budget of measured time, as KnapSpec has it (`decoding/drafters/clasp_search.py`).
"""

from dataclasses import dataclass
from typing import Annotated

from dynexit.decoding.controllers.base import Share
from dynexit.decoding.controllers.skipping import SkippingController, spread
from dynexit.decoding.facts import Facts
from dynexit.decoding.plans import Skipping
from dynexit.decoding.records import Round
from dynexit.plain import Within

Period = Annotated[int, Within(1, 100_000)]


@dataclass
class Clasp(SkippingController):
    """Leaves out what makes a draft's pass take `budget` of a whole one.

    A search every `period` rounds; 1 is after each verification, as published.
    """

    budget: Share = 0.55
    period: Period = 8

    def start(self, facts: Facts) -> None:
        """Begin with a search."""
        super().start(facts)
        self._set, self._wait = spread(facts.num_layers, 1 - self.budget), 0

    def skipping(self) -> Skipping:
        """The last set found, and a search where it is time."""
        return Skipping(self._set, budget=None if self._wait else self.budget)

    def observe(self, finished: Round) -> None:
        """Take what was found."""
        super().observe(finished)
        self._wait = max(self._wait - 1, 0)
        if finished.found is not None:
            self._set, self._wait = finished.found, self.period - 1


METHODS = {"clasp": Clasp}
