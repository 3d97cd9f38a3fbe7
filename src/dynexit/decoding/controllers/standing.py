"""The choice that `auto` keeps until it has learned more, and how an offer compares with it."""

from dynexit.decoding.controllers.estimates import Ease
from dynexit.decoding.controllers.pricing import NO_DRAFT, Option, Prices, proposed
from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Offer


class Standing:
    """The best round without what proposers offer.

    Args:
        best: that round.
        prices: values of rows.
        least: the value that a draft must exceed: a plain step's, plus the waiting of other texts.
        ease: how much longer than average an exit's drafts are.
    """

    def __init__(self, best: Option, prices: Prices, least: float, ease: Ease) -> None:
        self.best, self._least, self._ease = best, least, ease
        self._rows, self._floors = prices.rows(), prices.floors()
        self._drafted: tuple[float, float] | None = None  # with an exit: offered and expected

    def plan(self, offer: Offer | None, odds: list[float]) -> Plan:
        """Plan the most valuable round, which may be the offer. The better an offer, the longer the
        exit's drafts are assumed to be.
        """
        self._drafted = None
        if offer is None:
            return self.best.plan
        expected, worth = offer.grow(odds, self._floors), self.best.worth
        if self.best.plan.exit_layer:
            worth += self.best.slope * (self._ease.growth(expected) - 1.0)
        promised = 1.0 + expected - self._rows[offer.size + 1]
        if offer.size > 0 and promised > max(worth, self._least):
            return proposed(offer.depth)
        if worth < self._least:
            return NO_DRAFT
        self._drafted = expected, self.best.accepted
        return self.best.plan

    def observe(self, accepted: int) -> None:
        """Take the number of accepted tokens of the last round's draft."""
        if self._drafted is not None and self.best.plan.exit_layer:
            offered, expected = self._drafted
            self._ease.observe(offered, accepted, expected)
