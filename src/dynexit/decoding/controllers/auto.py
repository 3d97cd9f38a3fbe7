"""`auto`: chooses the round with the most expected tokens per second on this machine
(docs/auto.md).

A round's value is its expected tokens, less the tokens that its time would bring at the present
pace. The most valuable round is run. Plain steps compete too, so that little is tried where
drafting does not help.

Not responsible for the value of a draft (`pricing.py`), for acceptance rates (`estimates.py`) or
for other constants (`tuning.py`).
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
from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Offer, Round


@dataclass
class Auto(Controller):
    """Chooses among early-exit drafts, proposers' drafts and plain steps by expected tokens per
    second.
    """

    reads_shadow: ClassVar[bool] = True
    reads_costs = True
    reads_sample: ClassVar[bool] = True

    exits: bool = True  # draft with exit layers
    lookup: bool = True  # draft by lookup in the text itself
    earlier: bool = True  # draft from earlier texts, if there are any
    table: bool = True  # draft from the learned table, if there is one
    shadow: bool = True  # analyse exit layers that are not in use
    int8: bool = False  # draft with an int8 copy of the first layers where that is faster
    tree: bool = True  # also draft second and third choices of uncertain tokens, where worth it
    exit_layer: Layer | None = None  # fixes the exit layer
    carry: bool = False  # keep statistics from prompt to prompt

    def __post_init__(self) -> None:
        self._started = False
        wanted = self.lookup, self.earlier, self.table
        self.proposers = tuple(compress(("lookup", "earlier", "table"), wanted))
        drafts = self.exits, self.exits and self.int8, self.proposers
        self.drafters = tuple(compress(("early-exit", COPY, "sources"), drafts))

    def start(self, facts: Facts) -> None:
        """Forget the previous prompt, unless `carry` is set."""
        self._reached, self._context = False, 0
        if self.carry and self._started and facts.num_layers == self.num_layers:
            return
        super().start(facts)
        self._started = True
        self._layers = self.shadow_layers = self._candidates() if self.exits else ()
        self._layer = self._nearest(TUNING.first_depth)
        self._prices = Prices(facts.costs or ROUGH, facts.num_layers, facts.draft_vocabulary)
        self._told = None if self.int8 else facts.sample  # it says nothing of a copy's price
        self._estimates = Estimates(self._layers, facts.sample)
        self._offer: Offer | None = None
        self._offerer: Offer | None = None  # of the last offer: may be the next text's
        self._odds: list[float] = []
        self._rounds, self._batch_size = 0, 1
        self._unread: list[Round] = []
        self._standing: Standing | None = None
        self._open()

    def _open(self) -> None:
        """What passes cost decides: whether exits are trusted at once, how often `auto` learns, and
        the first round.
        """
        promising = self._told is None or self._prices.promising(self._told, self._layers)
        self._least = 0 if promising else TUNING.enough
        often, rarely = TUNING.lessons
        self._lesson = often if often * self._prices.plain() >= TUNING.lesson else rarely
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
        """Take the number of texts that share the next passes."""
        if batch_size != self._batch_size:
            self._batch_size, self._standing = batch_size, None
            self._prices.share(batch_size)

    def reach(self, context: int) -> None:
        """Take the number of tokens so far: prices follow it when `auto` learns."""
        self._context = context
        if not self._reached:
            self._reached = True
            if self._prices.reach(context):
                self._open()

    def consider(self, offer: Offer) -> None:
        """Take the proposers' offer for the next round."""
        if offer is not self._offerer:
            self._learn_offers()
            self._offerer = offer
        self._offer = offer

    def plan(self) -> Plan:
        """Plan the most valuable round."""
        standing = self._standing or self._settle()
        if self._offer is not None and not self._odds:
            self._odds = self._estimates.offers(self._offer.priors).odds
        plan = standing.plan(self._offer, self._odds)
        last = self._rounds % self._lesson == self._lesson - 1
        return self._analysing(plan) if last else plan

    def _settle(self) -> Standing:
        """Choose the best round without an offer, and keep it until more is known."""
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
        """Drafting with the most valuable exit layer. The present one stays unless another is
        better by more than the possible error of its estimate.

        Other layers count once they are known; if the present one is worth no more than a `plain`
        step, all of them count.
        """
        kept = best = self._with_layer(self._layer)
        if self._rounds % self._lesson:
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
        """Drafting with a layer. Drafts branch only if the text is alone and already observed."""
        branches = self.tree and self._batch_size == 1 and self._rounds >= TUNING.shallow
        others = self._estimates.others.odds(self._estimates.exits.trust(layer)) if branches else ()
        return self._prices.draft(layer, self.int8, self._estimates.exits.chances(layer), others)

    def _analysing(self, plan: Plan) -> Plan:
        """The round with shadow tokens of the other exit layers, if the text is alone. Layers that
        are well known are analysed rarely.
        """
        if not self.shadow or self._batch_size > 1 or plan.drafter == "sources":
            return plan
        others = tuple(layer for layer in self._layers if layer != plan.exit_layer)
        seen = min(map(self._estimates.exits.seen, others), default=0.0)
        if seen >= TUNING.well and (self._rounds + 1) % TUNING.lessons[1]:
            return plan
        return replace(plan, shadow=others)

    def observe(self, finished: Round) -> None:
        """Note a round. Several are learned from together: Python runs cold between passes."""
        self._rounds += 1
        self._offer = None
        self._unread.append(finished)
        if self._standing is not None and finished.drafted:
            self._standing.observe(finished.accepted)
        if self._lesson_is_due():
            self._learn()

    def _lesson_is_due(self) -> bool:
        if self._rounds == TUNING.doubtful:
            return not any(finished.accepted for finished in self._unread)
        return self._rounds in TUNING.first_lessons or not self._rounds % self._lesson

    def _learn(self) -> None:
        """Learn from all rounds since the last call."""
        self._learn_offers()
        self._prices.reach(self._context)
        self._estimates.learn(self._unread, TUNING.memory)
        for finished in self._unread:
            self._prices.observe(finished)
        if self._rounds == TUNING.shallow and self._layer == self._nearest(TUNING.first_depth):
            self._layer = self._nearest(TUNING.depth)
        self._unread, self._standing, self._odds = [], None, []

    def _learn_offers(self) -> None:
        """Learn how offers compared with the text since the last call."""
        if (offer := self._offerer) is not None:
            self._estimates.offers(offer.priors).observe(offer.evidence())


METHODS = {"auto": Auto}
