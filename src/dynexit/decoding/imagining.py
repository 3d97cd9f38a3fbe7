"""Simulates an exit's next drafts from its estimated acceptance rates and confidences.

Numbers in, numbers out. Not responsible for costs or plans.
"""

from bisect import bisect
from math import inf
from typing import NamedTuple

import numpy as np

from dynexit.model.drafting_rule import Pricing
from dynexit.model.native.imagining import Drawn, imagine

DRAFTS, DRAWS = 6, 64  # imagined drafts, and confidences of each
DRAWN = Drawn(np.random.default_rng(0).random((DRAFTS, DRAWS)).tolist())  # the same for all layers


class Imagined(NamedTuple):
    """Means over simulated drafts: tokens, accepted tokens, levels."""

    tokens: float
    accepted: float
    levels: float


class Chances(NamedTuple):
    """A layer's acceptance rate by tenths of confidence, and the cumulative number of its tokens up
    to the end of each tenth.
    """

    odds: tuple[float, ...]
    ends: list[float]

    @property
    def mean(self) -> float:
        """The acceptance rate over all tokens."""
        return sum(
            odds * (end - begin)
            for odds, begin, end in zip(self.odds, [0.0, *self.ends], self.ends, strict=False)
        )

    def imagine(self, pricing: Pricing) -> Imagined:
        """Simulate drafts that grow by `model.drafting_rule`, with confidences as seen so far."""
        sums = imagine(pricing, self.ends, DRAWN) or self._sums(pricing)
        return Imagined(*(each / DRAFTS for each in sums))

    def _sums(self, pricing: Pricing) -> tuple[float, float, float]:
        """Without the library, which takes a tenth of the time between two passes."""
        parts = list(zip(*pricing.odds, strict=True))  # of each tenth, its children's odds
        last, rows, floors = len(parts) - 1, (*pricing.rows, inf), (*pricing.levels, 0.0)
        tokens, accepted, levels = 0, 0.0, 0
        for drawn in DRAWN.rows:
            draws, chances, count = iter(drawn), [1.0], 0
            for floor in floors:
                levels += 1
                children = [
                    child
                    for chance, draw in zip(chances, draws, strict=False)
                    for odds in parts[min(bisect(self.ends, draw), last)]
                    if (child := chance * odds) >= rows[count]
                ]
                chances = []
                for child in sorted(children, reverse=True):
                    if child < rows[count]:
                        break
                    chances.append(child)
                    count += 1
                total = sum(chances)
                accepted += total
                if total <= floor:
                    break
            tokens += count
        return tokens, accepted, levels
