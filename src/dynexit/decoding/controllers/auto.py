"""`auto`: the round that promises most text per second on this machine (docs/auto.md).

Every kind of round is worth the tokens that it is expected to bring, less what its time is worth at
the present pace; the one worth most is played. Plain steps are among them, so that where nothing
helps, little is tried.
"""

from dataclasses import dataclass, replace
from itertools import compress, pairwise
from typing import ClassVar, NamedTuple

import numpy as np

from dynexit.costs.paying import DraftPrice, best_promise, copy_price, draft_price, pays
from dynexit.costs.table import ROUGH, rising
from dynexit.decoding.controllers.base import LONGEST, Controller, Layer, check_exit_layer
from dynexit.decoding.controllers.estimates import (
    Calibration,
    ExitEstimates,
    LookupEstimates,
    OtherEstimates,
    Pace,
)
from dynexit.decoding.records import Offer, Plan, Round, ShadowTokens
from dynexit.model.drafting_rule import Pricing

MOST = 24  # tokens that are looked up
LEVELS = 16  # of a draft that must each be worth it; there are hardly ever more
FIRST, LESSON = 8, 16  # rounds up to the first lesson, and between two after it
BEGIN, USUAL = 0.15, 0.25  # of the depth: the exit until the first lesson, and after it
MEMORY = 0.9  # of what was counted of an exit, where a lesson says more of it
COMPARE = 64  # rounds between two looks at exit layers that are not in use
ANALYSED, LOOKS = 128, 8  # in so many rounds the others are analysed, in the last before a look,
ENOUGH = 6  # until so many positions are, after which a layer is known
LOYALTY = 0.05  # tokens a round that another exit must be worth more to replace the present one
CANDIDATES = 8  # exit layers at most
WAITING = 0.3  # tokens that a draft must be worth more where others would wait for it
NODES = 24  # tokens of a draft: its rows, and one more
HOPE = 1.3  # of plain decoding's pace: the pace before anything is known
NO_DRAFT = Plan(0, shadow=())


class Option(NamedTuple):
    """Drafting with an exit layer, and what that is expected to bring and to take."""

    tokens: float
    seconds: float
    plan: Plan

    def worth(self, rate: float) -> float:
        """Tokens beyond those that the same time brings at `rate` tokens per second."""
        return self.tokens - rate * self.seconds


class Standing(NamedTuple):
    """What holds until more is learned: the best round without lookup, the tokens that the time of
    verifying 0, 1, 2, ... rows would bring at the present pace, and what is best where so many
    tokens match and so many follow.
    """

    worth: float
    plan: Plan
    rows: list[float]
    beside: dict[tuple[int, int], Plan]


@dataclass
class Auto(Controller):
    """Early-exit drafts, looked-up drafts and plain steps, by expected tokens per second.

    Settings:
        exits: draft with exit layers.
        lookup: draft with what the text holds already.
        shadow: analyse exit layers that are not in use.
        int8: draft with a copy of the first layers in int8 where that is faster.
        tree: draft an unsure token's second and third choice beside it, where that is worth it.
        exit_layer: fixes the exit layer.
        carry: keep what was learned from prompt to prompt.
    """

    reads_shadow: ClassVar[bool] = True
    reads_costs = True
    reads_sample: ClassVar[bool] = True

    exits: bool = True
    lookup: bool = True
    shadow: bool = True
    int8: bool = False
    tree: bool = True
    exit_layer: Layer | None = None
    carry: bool = False

    def __post_init__(self) -> None:
        self._started = False
        wanted = self.exits, self.exits and self.int8, self.lookup
        self.drafters = tuple(compress(("early-exit", "early-exit-int8", "lookup"), wanted))

    def start(self, num_layers: int) -> None:
        """Forget the last prompt, unless what was learned is carried."""
        if self.carry and self._started and num_layers == self.num_layers:
            return
        super().start(num_layers)
        self._started, self._costs = True, self.costs or ROUGH
        self._layers = self._candidates() if self.exits else ()
        self.shadow_layers = self._layers
        self._layer = self._nearest(BEGIN * num_layers)
        self._least = 0 if self._promising() else ENOUGH
        self._exits, self._found = ExitEstimates(self._layers, self.sample), LookupEstimates()
        self._others = OtherEstimates()
        self._draft_calibration, self._verify_calibration = Calibration(trust=4.0), Calibration()
        self._pace = Pace(1.0, self._plain() / HOPE)
        self._offer: Offer | None = None
        self._drafts: dict[tuple[str, int], DraftPrice] = {}
        self._rounds, self._batch_size = 0, 1
        self._unread: list[Round] = []
        self._standing: Standing | None = None
        self._weigh()

    def _candidates(self) -> tuple[int, ...]:
        """Exit layers up to half the depth, closer together where they are shallow."""
        if self.num_layers < 2:
            return ()
        if self.exit_layer is not None:
            return (check_exit_layer(self.exit_layer, self.num_layers),)
        deepest = self.num_layers // 2
        steps = np.geomspace(1, deepest, CANDIDATES).round().astype(int).tolist()
        return tuple(sorted({*steps, max(self.num_layers // 4, 1)}))

    def _promising(self) -> bool:
        """Whether a sample text gives reason to draft before this text does."""
        if self.sample is None or self.int8:  # a sample says nothing of a copy's price
            return True
        rates = dict(zip(self.sample.layers, self.sample.matched.mean(axis=1), strict=True))
        exits = {layer: float(rates[layer]) for layer in self._layers if layer in rates}
        costs = self.costs or ROUGH
        return best_promise(costs, self.num_layers, exits, self.draft_vocabulary).pays

    def _nearest(self, depth: float) -> int:
        """The candidate nearest to a depth; 0 where there is none."""
        return min(self._layers, key=lambda layer: abs(layer - depth), default=0)

    def share(self, batch_size: int) -> None:
        """Costs of passes that so many share, by powers of two; and the pace follows."""
        if batch_size == self._batch_size:
            return
        self._batch_size = batch_size
        costs = (self.costs or ROUGH).shared(1 << (batch_size - 1).bit_length())
        if costs is not self._costs:
            before, self._costs = self._verify(0)[1], costs
            self._pace.seconds *= self._verify(0)[1] / before
            self._drafts = {}
        self._standing = None

    def consider(self, offer: Offer) -> None:
        """What lookup has at hand for the next round."""
        self._offer = offer

    def plan(self) -> Plan:
        """The kind of round that is worth most."""
        standing = self._standing or self._weigh()
        plan = standing.plan if self._offer is None else self._beside(standing, self._offer)
        near = 0 < ANALYSED // 2 - self._rounds % ANALYSED <= LOOKS
        return self._analysing(plan) if near else plan

    def _weigh(self) -> Standing:
        """Drafting against a plain step, by what is known now."""
        rate = self._pace.rate
        option = self._best_exit(rate) if self._layers else None
        price = rate * self._verify_calibration.ratio()
        rows = [price * seconds for seconds in self._verify(0)[: MOST + 2]]
        worth = 1.0 - rows[1] + (WAITING if self._batch_size > 1 else 0.0)
        plan = NO_DRAFT
        if option is not None and self._pays(option) and option.worth(rate) > worth:
            worth, plan = option.worth(rate), option.plan
        self._standing = Standing(worth, plan, rows, {})
        return self._standing

    def _pays(self, option: Option) -> bool:
        """Whether that is more than luck: of the best of several estimates some of it is, so that
        exits which are worth no more than plain steps would be drafted with for good.
        """
        known = self._exits.seen(option.plan.exit_layer) >= self._least
        return known and pays(option.tokens, option.seconds, self._plain())

    def _analysing(self, plan: Plan) -> Plan:
        """The round, with shadow tokens of the layers that it does not draft with, if alone, until
        there are enough.
        """
        if not self.shadow or self._batch_size > 1 or plan.drafter == "lookup":
            return plan
        known = (one.shadow.matched.shape[1] for one in self._unread if one.shadow is not None)
        if sum(known) >= ENOUGH:
            return plan
        others = tuple(layer for layer in self._layers if layer != plan.exit_layer)
        return replace(plan, shadow=others)

    def _plain(self) -> float:
        """Seconds of a plain step."""
        return self._verify(0)[1] * self._verify_calibration.ratio()

    def _verify(self, exit_layer: int) -> list[float]:
        """Seconds of verifying 1, 2, ... rows above an exit."""
        return self._costs.verify(self.num_layers - exit_layer)

    def _beside(self, standing: Standing, offer: Offer) -> Plan:
        """What is worth most where there is an offer: reckoned once for all offers like it."""
        key = offer.match, len(offer.tokens)
        if key not in standing.beside:
            standing.beside[key] = self._looked_up(standing, *key)
        return standing.beside[key]

    def _looked_up(self, standing: Standing, match: int, most: int) -> Plan:
        """An offer, up to the token that is not worth its row, where that is worth more."""
        tokens, length = 1.0, 0
        for chance in self._found.chances(match, min(most, MOST)):
            if chance < standing.rows[length + 2] - standing.rows[length + 1]:
                break
            length, tokens = length + 1, tokens + chance
        if not length or tokens - standing.rows[length + 1] <= standing.worth:
            return standing.plan
        return Plan(0, length, drafter="lookup", shadow=())

    def _best_exit(self, rate: float) -> Option:
        """Drafting with the exit layer that is worth most; the present one unless by far.

        Others count once they are known; where the present one is worth nothing, any does.
        """
        kept = self._with_layer(self._layer, rate)
        if self._rounds % COMPARE:
            return kept
        useless = kept.worth(rate) <= 1.0 - rate * self._plain()
        least = self._least if useless else ENOUGH
        others = [one for one in self._layers if self._exits.seen(one) >= least]
        options = (self._with_layer(layer, rate) for layer in others if layer != self._layer)
        best = max(options, key=lambda option: option.worth(rate), default=kept)
        if best.worth(rate) - kept.worth(rate) > LOYALTY:
            kept = best
        self._layer = kept.plan.exit_layer
        return kept

    def _with_layer(self, layer: int, rate: float) -> Option:
        """Drafting with a layer as it is, or with its copy where that is worth more."""
        option = self._drafted(layer, rate, "early-exit")
        if not (self.int8 and self._costs.copied_layer):
            return option
        copied = self._drafted(layer, rate, "early-exit-int8")
        return max(option, copied, key=lambda option: option.worth(rate))

    def _draft_price(self, drafter: str, layer: int) -> DraftPrice:
        """Of a drafter with a layer, reckoned once."""
        if (drafter, layer) not in self._drafts:
            copied = drafter == "early-exit-int8"
            self._drafts[drafter, layer] = (
                copy_price(self._costs, layer)
                if copied
                else draft_price(self._costs, layer, self.draft_vocabulary)
            )
        return self._drafts[drafter, layer]

    def _drafted(self, layer: int, rate: float, drafter: str) -> Option:
        """Drafting with a layer: every row and every level that is worth its time."""
        token, last, reused = self._draft_price(drafter, layer)
        late = self._verify_calibration.ratio()
        slow = self._draft_calibration.ratio(late)
        verify = self._verify(reused)
        chances = self._exits.chances(layer)
        others, beside = self._branches(layer)
        rows = [rate * (late * price + slow * beside) for price in self._rows]
        others = tuple(rank for rank in others if max(rank) >= rows[0])  # no other is ever kept
        level = rate * (slow * token + late * self._rows[0]) / max(chances.mean, 0.01)
        pricing = Pricing((chances.odds, *others), tuple(rows), (level,) * LEVELS)
        drafts = chances.imagine(pricing)
        more = max(drafts.tokens - drafts.levels, 0.0) * beside
        seconds = slow * (drafts.levels * token + last + more)
        seconds += late * float(np.interp(drafts.tokens + 1.0, range(len(verify)), verify))
        plan = Plan(layer, LONGEST, None, drafter, pricing, shadow=())
        return Option(1.0 + drafts.accepted, seconds, plan)

    def _branches(self, layer: int) -> tuple[tuple[tuple[float, ...], ...], float]:
        """Odds of a token's second and third choice, and seconds of one more row in a level.

        None before the first lesson, when nothing is known of the text, and none where several
        texts share passes.
        """
        if not self.tree or self._batch_size > 1 or self._rounds < FIRST:
            return (), 0.0
        beside = self._costs.draft_beside(layer, self.draft_vocabulary)
        return self._others.odds(self._exits.trust(layer)), beside

    @property
    def _rows(self) -> list[float]:
        """Seconds of the rows of a draft, from the first on, through all layers; never falling."""
        through = self._verify(0)[1 : NODES + 2]
        return rising(after - now for now, after in pairwise(through))

    def observe(self, finished: Round) -> None:
        """Note a round. Some are learned from together: Python runs cold between passes."""
        self._rounds += 1
        self._offer = None
        self._unread.append(finished)
        if self._rounds == FIRST or self._rounds % LESSON == 0:
            self._learn()

    def _learn(self) -> None:
        """From what was drafted, offered and analysed since the last time."""
        for layer in {one.plan.exit_layer for one in self._unread if one.drafted} - {0}:
            self._exits.fade(layer, MEMORY)
        for finished in self._unread:
            self._pace.observe(finished.tokens, finished.seconds)
            if finished.shadow is None:
                self._calibrate(finished)
            if finished.offer is not None:
                self._found.observe(finished.offer)
            if layer := finished.plan.exit_layer:
                self._observe_draft(layer, finished)
            if finished.shadow is not None:
                self._observe_shadow(finished.shadow)
        if self._rounds == FIRST and self._layer == self._nearest(BEGIN * self.num_layers):
            self._layer = self._nearest(USUAL * self.num_layers)
        self._unread, self._standing = [], None

    def _observe_draft(self, layer: int, finished: Round) -> None:
        """Count tokens of which it is known whether the target would have written them."""
        confidences, matched = [], []
        for rank, confidence, accepted in finished.judged():
            if rank:
                self._others.observe(rank, confidence, accepted)
            else:
                confidences.append(confidence)
                matched.append(accepted)
        self._exits.observe(layer, confidences, matched)

    def _calibrate(self, finished: Round) -> None:
        plan, drafted, reused = finished.plan, finished.drafted, 0
        self._draft_calibration.fade()
        self._verify_calibration.fade()
        if plan.exit_layer and drafted:
            token, last, reused = self._draft_price(plan.drafter, plan.exit_layer)
            beside = self._costs.draft_beside(plan.exit_layer, self.draft_vocabulary)
            foreseen = finished.depth * token + last + (drafted - finished.depth) * beside
            self._draft_calibration.observe(finished.draft_seconds, foreseen)
        foreseen = self._verify(reused)[drafted + 1]
        self._verify_calibration.observe(finished.seconds - finished.draft_seconds, foreseen)

    def _observe_shadow(self, shadow: ShadowTokens) -> None:
        for index, layer in enumerate(shadow.layers):
            row = shadow.confidence[index].tolist(), shadow.matched[index].tolist()
            self._exits.observe(layer, *row)


METHODS = {"auto": Auto}
