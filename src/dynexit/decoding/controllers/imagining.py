"""What the next drafts of an exit will be like, by what is known of its tokens.

Numbers in, numbers out; nothing here knows of costs or plans.
"""

from bisect import bisect
from math import inf
from typing import NamedTuple

import numpy as np

from dynexit.model.drafting_rule import Pricing

DRAFTS, DRAWS = 6, 64  # imagined drafts, and confidences of each
DRAWN = np.random.default_rng(0).random((DRAFTS, DRAWS)).tolist()  # the same for all layers


class Imagined(NamedTuple):
    """Means over imagined drafts: tokens, those accepted, levels."""

    tokens: float
    accepted: float
    levels: float


class Chances(NamedTuple):
    """Of a layer's tokens, by tenths of confidence: how often they are accepted, and how many of
    them lie below each tenth's end.
    """

    odds: tuple[float, ...]
    ends: list[float]

    @property
    def mean(self) -> float:
        """How often any token is accepted."""
        return sum(
            odds * (end - begin)
            for odds, begin, end in zip(self.odds, [0.0, *self.ends], self.ends, strict=False)
        )

    def imagine(self, pricing: Pricing) -> Imagined:
        """Drafts that grow as `model.drafting_rule` says, with confidences as they fell so far."""
        parts = list(zip(*pricing.odds, strict=True))  # of each tenth, its children's odds
        last, rows, floors = len(parts) - 1, (*pricing.rows, inf), (*pricing.levels, 0.0)
        tokens, accepted, levels = 0, 0.0, 0
        for drawn in DRAWN:
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
        return Imagined(tokens / DRAFTS, accepted / DRAFTS, levels / DRAFTS)
