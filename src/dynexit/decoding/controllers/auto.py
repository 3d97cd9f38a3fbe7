"""`auto`: the round that promises most text per second on this machine (docs/auto.md).

Every kind of round is worth the tokens that it is expected to bring, less what its time is worth at
the present pace; the one worth most is played. Plain steps are among them, so that where nothing
helps, little is tried.

Not responsible for what a draft is worth (`pricing.py`), for chances (`estimates.py`), nor for
numbers that are neither (`tuning.py`).
"""

from dataclasses import dataclass, replace
from itertools import compress
from typing import ClassVar

import numpy as np

from dynexit.decoding.controllers.base import Controller, Layer, check_exit_layer
from dynexit.decoding.controllers.estimates import Estimates
from dynexit.decoding.controllers.pricing import COPY, NO_DRAFT, Option, Prices
from dynexit.decoding.controllers.standing import Standing
from dynexit.decoding.controllers.tuning import TUNING
from dynexit.decoding.costs import ROUGH
from dynexit.decoding.facts import Facts
from dynexit.decoding.records import Offer, Plan, Round


@dataclass
class Auto(Controller):
    """Drafts of early exits and of proposers, and plain steps, by expected tokens per second."""

    reads_shadow: ClassVar[bool] = True
    reads_costs = True
    reads_sample: ClassVar[bool] = True

    exits: bool = True  # draft with exit layers
    lookup: bool = True  # draft with what the text holds already
    earlier: bool = True  # draft with what earlier texts held, where there are any
    table: bool = True  # draft with what was learned of the model's own text, where there is any
    shadow: bool = True  # analyse exit layers that are not in use
    int8: bool = False  # draft with a copy of the first layers in int8 where that is faster
    tree: bool = True  # draft second and third choices beside unsure tokens, where worth it
    exit_layer: Layer | None = None  # fixes the exit layer
    carry: bool = False  # keep what was learned from prompt to prompt

    def __post_init__(self) -> None:
        self._started = False
        wanted = self.lookup, self.earlier, self.table
        self.proposers = tuple(compress(("lookup", "earlier", "table"), wanted))
        drafts = self.exits, self.exits and self.int8, self.proposers
        self.drafters = tuple(compress(("early-exit", COPY, "sources"), drafts))

    def start(self, facts: Facts) -> None:
        """Forget the last prompt, unless what was learned is carried."""
        if self.carry and self._started and facts.num_layers == self.num_layers:
            return
        super().start(facts)
        self._started = True
        self._layers = self.shadow_layers = self._candidates() if self.exits else ()
        self._layer = self._nearest(TUNING.first_depth)
        self._prices = Prices(facts.costs or ROUGH, facts.num_layers, facts.draft_vocabulary)
        told = None if self.int8 else facts.sample  # it says nothing of a copy's price
        promising = told is None or self._prices.promising(told, self._layers)
        self._least = 0 if promising else TUNING.enough
        self._estimates = Estimates(self._layers, facts.sample)
        self._offer: Offer | None = None
        self._offerer: Offer | None = None  # who made the last one, which may be the next text's
        self._odds: list[float] = []
        self._rounds, self._batch_size = 0, 1
        self._unread: list[Round] = []
        self._standing: Standing | None = None
        self._settle()

    def _candidates(self) -> tuple[int, ...]:
        """Exit layers up to half the depth, closer together where they are shallow."""
        if self.num_layers < 2:
            return ()
        if self.exit_layer is not None:
            return (check_exit_layer(self.exit_layer, self.num_layers),)
        deepest = self.num_layers // 2
        steps = np.geomspace(1, deepest, TUNING.candidates).round().astype(int).tolist()
        return tuple(sorted({*steps, max(self.num_layers // 4, 1)}))

    def _nearest(self, share: float) -> int:
        """The candidate nearest to a share of the depth; 0 where there is none."""
        depth = share * self.num_layers
        return min(self._layers, key=lambda layer: abs(layer - depth), default=0)

    def share(self, batch_size: int) -> None:
        """How many texts share the next passes."""
        if batch_size != self._batch_size:
            self._batch_size, self._standing = batch_size, None
            self._prices.share(batch_size)

    def consider(self, offer: Offer) -> None:
        """What proposers have at hand for the next round."""
        if offer is not self._offerer:
            self._learn_offers()
            self._offerer = offer
        self._offer = offer

    def plan(self) -> Plan:
        """The kind of round that is worth most."""
        standing = self._standing or self._settle()
        if self._offer is not None and not self._odds:
            self._odds = self._estimates.offers(self._offer.priors).odds
        plan = standing.plan(self._offer, self._odds)
        last = self._rounds % TUNING.lesson == TUNING.lesson - 1
        return self._analysing(plan) if last else plan

    def _settle(self) -> Standing:
        """Hold to what is best by what is known now."""
        plain = 1.0 - self._prices.pace.rate * self._prices.plain()
        least = plain + (TUNING.waiting if self._batch_size > 1 else 0.0)
        best = Option(least, True, NO_DRAFT)
        if self._layers:
            option = self._best_exit(plain)
            self._layer = option.plan.exit_layer
            known = self._estimates.exits.seen(self._layer) >= self._least
            if known and option.pays and option.worth > best.worth:
                best = option
        self._standing = Standing(best, self._prices, least, self._estimates.ease)
        return self._standing

    def _best_exit(self, plain: float) -> Option:
        """Drafting with the exit layer that is worth most; the present one unless by more than what
        was seen of the other could be off.

        Others count once they are known; where the present one is worth no more than a `plain`
        step, any does.
        """
        kept = best = self._with_layer(self._layer)
        if self._rounds % TUNING.compare:
            return kept
        exits, most = self._estimates.exits, kept.worth
        least = self._least if kept.worth <= plain else TUNING.enough
        for layer in self._layers:
            if layer == self._layer or exits.seen(layer) < least:
                continue
            option = self._with_layer(layer)
            sure = option.worth - exits.doubt(layer)
            if sure > most:
                best, most = option, sure
        return best

    def _with_layer(self, layer: int) -> Option:
        """Drafts branch where one text is alone, and something is known of it."""
        branches = self.tree and self._batch_size == 1 and self._rounds >= TUNING.shallow
        others = self._estimates.others.odds(self._estimates.exits.trust(layer)) if branches else ()
        return self._prices.draft(layer, self.int8, self._estimates.exits.chances(layer), others)

    def _analysing(self, plan: Plan) -> Plan:
        """The round, with shadow tokens of the layers that it does not draft with, if alone; those
        that are known well rarely.
        """
        if not self.shadow or self._batch_size > 1 or plan.drafter == "sources":
            return plan
        others = tuple(layer for layer in self._layers if layer != plan.exit_layer)
        seen = min(map(self._estimates.exits.seen, others), default=0.0)
        if seen >= TUNING.well and (self._rounds + 1) % TUNING.compare:
            return plan
        return replace(plan, shadow=others)

    def observe(self, finished: Round) -> None:
        """Note a round. Some are learned from together: Python runs cold between passes."""
        self._rounds += 1
        self._offer = None
        self._unread.append(finished)
        if self._standing is not None and finished.drafted:
            self._standing.observe(finished.accepted)
        if self._rounds in TUNING.first_lessons or not self._rounds % TUNING.lesson:
            self._learn()

    def _learn(self) -> None:
        """From all rounds since the last time."""
        self._learn_offers()
        self._estimates.learn(self._unread, TUNING.memory)
        for finished in self._unread:
            self._prices.observe(finished)
        if self._rounds == TUNING.shallow and self._layer == self._nearest(TUNING.first_depth):
            self._layer = self._nearest(TUNING.depth)
        self._unread, self._standing, self._odds = [], None, []

    def _learn_offers(self) -> None:
        """What the text has said of them since the last time."""
        if (offer := self._offerer) is not None:
            self._estimates.offers(offer.priors).observe(offer.evidence())


METHODS = {"auto": Auto}
