"""`auto`: the round that promises most text per second on this machine (docs/auto.md).

Every kind of round is worth the tokens that it is expected to bring, less what its time is worth at
the present pace; the one worth most is played. Plain steps are among them, so that where nothing
helps, little is tried.
"""

from dataclasses import dataclass, replace
from itertools import compress, pairwise
from typing import ClassVar, NamedTuple

import numpy as np

from dynexit.costs.table import ROUGH
from dynexit.decoding.controllers.base import Controller, Layer, check_exit_layer
from dynexit.decoding.controllers.estimates import (
    LONGEST,
    Drift,
    ExitEstimates,
    LeafEstimates,
    LookupEstimates,
    Pace,
)
from dynexit.decoding.records import Offer, Plan, Round, ShadowTokens

MOST = 24  # tokens that are looked up
FIRST, LESSON = 8, 16  # rounds up to the first lesson, and between two after it
BEGIN, USUAL = 0.15, 0.25  # of the depth: the exit until the first lesson, and after it
COMPARE = 64  # rounds between two looks at exit layers that are not in use
ANALYSED, LOOKS = 128, 8  # in so many rounds the others are analysed, in the last before a look,
ENOUGH = 6  # until so many positions are, after which a layer is known
LOYALTY = 0.05  # tokens a round that another exit must be worth more to replace the present one
CANDIDATES = 8  # exit layers at most
WAITING = 0.3  # tokens that a draft must be worth more where others would wait for it
LEAST = 0.02  # tokens that a leaf must be worth: nothing is for free,
DEARER = 1.5  # and so many times the row that it takes
WIDE = 8  # rows: a leaf's is taken to cost the mean of that many
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
        tree: draft an unsure token's second choice beside it, where a pass can verify both.
        exit_layer: fixes the exit layer.
        carry: keep what was learned from prompt to prompt.
    """

    reads_shadow: ClassVar[bool] = True
    reads_costs: ClassVar[bool] = True
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
        self.shadow_layers = max(self._layers, default=1)
        self._layer = self._nearest(BEGIN * num_layers)
        self._exits, self._found = ExitEstimates(self._layers, self.sample), LookupEstimates()
        self._leaves = LeafEstimates()
        self._draft_drift, self._verify_drift = Drift(trust=4.0), Drift()
        self._pace = Pace(1.0, self._plain() / HOPE)
        self._offer: Offer | None = None
        self._drafts: dict[tuple[str, int], tuple[float, float, int]] = {}
        self._rounds, self._company = 0, 1
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

    def _nearest(self, depth: float) -> int:
        """The candidate nearest to a depth; 0 where there is none."""
        return min(self._layers, key=lambda layer: abs(layer - depth), default=0)

    def share(self, company: int) -> None:
        """Costs of passes that so many share, by powers of two; and the pace follows."""
        if company == self._company:
            return
        self._company = company
        costs = (self.costs or ROUGH).shared(1 << (company - 1).bit_length())
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
        price = rate * self._verify_drift.ratio()
        rows = [price * seconds for seconds in self._verify(0)[: MOST + 2]]
        worth = 1.0 - rows[1] + (WAITING if self._company > 1 else 0.0)
        plan = NO_DRAFT
        if option is not None and option.worth(rate) > worth:
            worth, plan = option.worth(rate), option.plan
        self._standing = Standing(worth, plan, rows, {})
        return self._standing

    def _analysing(self, plan: Plan) -> Plan:
        """The round, with shadow tokens of the layers that it does not draft with, if alone, until
        there are enough.
        """
        if not self.shadow or self._company > 1 or plan.drafter == "lookup":
            return plan
        known = (one.shadow.matched.shape[1] for one in self._unread if one.shadow is not None)
        if sum(known) >= ENOUGH:
            return plan
        others = tuple(layer for layer in self._layers if layer != plan.exit_layer)
        return replace(plan, shadow=others)

    def _plain(self) -> float:
        """Seconds of a plain step."""
        return self._verify(0)[1] * self._verify_drift.ratio()

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
        least = 0 if useless else ENOUGH
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

    def _draft_costs(self, drafter: str, layer: int) -> tuple[float, float, int]:
        """Seconds of a drafted token, and of beginning a draft and ending it; the layers that
        verification need not run again.
        """
        if (drafter, layer) not in self._drafts:
            costs = self._costs
            passing, head = costs.draft(layer), costs.unembed(1, self.draft_vocabulary)
            found = passing + head, costs.draft_start(layer) + passing, layer
            if drafter == "early-exit-int8":
                found = costs.copied_layer * layer + costs.copied_head, costs.draft_call, 0
            self._drafts[drafter, layer] = found
        return self._drafts[drafter, layer]

    def _drafted(self, layer: int, rate: float, drafter: str) -> Option:
        """Drafting with a layer: on, while the next token is worth its time."""
        token, last, reused = self._draft_costs(drafter, layer)
        late = self._verify_drift.ratio()
        slow = self._draft_drift.ratio(late)
        token, last = token * slow, last * slow
        verify = [seconds * late for seconds in self._verify(reused)[: LONGEST + 3]]
        rows = [after - now for now, after in pairwise(verify)]  # of one more than 0, 1, ... rows
        chances = self._exits.chances(layer)
        least = rate / max(chances.mean, 0.01)
        floors = [least * (token + row) for row in rows[2:-1]]  # of going on after 1, 2, ... tokens
        through = self._verify(0)  # a leaf's row runs through all layers, some in the draft
        row = late * (through[WIDE] - through[1]) / (WIDE - 1)
        floor = max(DEARER * row * rate, LEAST)
        leaf_odds = self._leaf_odds if max(self._leaf_odds, default=0.0) >= floor else ()
        drafts = chances.imagine(floors, leaf_odds, floor)
        whole = int(drafts.tokens)
        part = (drafts.tokens - whole) * rows[whole + 1]
        seconds = drafts.tokens * token + last + verify[whole + 1] + part + drafts.leaves * row
        plan = Plan(
            exit_layer=layer,
            speculation_length=LONGEST,
            drafter=drafter,
            floors=tuple(floors),
            odds=chances.odds,
            shadow=(),
            leaf_odds=leaf_odds,
            leaf_floor=floor,
        )
        return Option(1.0 + drafts.accepted + drafts.leaves_accepted, seconds, plan)

    @property
    def _leaf_odds(self) -> tuple[float, ...]:
        """Those of leaves; none where several share passes."""
        return self._leaves.odds if self.tree and self._company == 1 else ()

    def observe(self, finished: Round) -> None:
        """Note a round. Some are learned from together: Python runs cold between passes."""
        self._rounds += 1
        self._offer = None
        self._unread.append(finished)
        if self._rounds == FIRST or self._rounds % LESSON == 0:
            self._learn()

    def _learn(self) -> None:
        """From what was drafted, offered and analysed since the last time."""
        for finished in self._unread:
            self._pace.observe(finished.tokens, finished.seconds)
            if finished.shadow is None:
                self._observe_drift(finished)
            if finished.offer is not None:
                self._found.observe(finished.offer)
            layer, judged = finished.plan.exit_layer, min(finished.accepted + 1, finished.drafted)
            if layer and judged:
                matched = [index < finished.accepted for index in range(judged)]
                self._exits.observe(layer, finished.confidences[:judged], matched)
                self._observe_leaves(finished)
            if finished.shadow is not None:
                self._observe_shadow(finished.shadow)
        if self._rounds == FIRST and self._layer == self._nearest(BEGIN * self.num_layers):
            self._layer = self._nearest(USUAL * self.num_layers)
        self._unread, self._standing = [], None

    def _observe_leaves(self, finished: Round) -> None:
        for place in finished.leaf_places:
            if place <= finished.accepted:
                right = finished.leaf_accepted and place == finished.accepted
                self._leaves.observe(finished.confidences[place], right)

    def _observe_drift(self, finished: Round) -> None:
        plan, drafted, reused = finished.plan, finished.drafted, 0
        rows = finished.all_drafted + 1
        self._draft_drift.fade()
        self._verify_drift.fade()
        if plan.exit_layer and drafted:
            token, last, reused = self._draft_costs(plan.drafter, plan.exit_layer)
            self._draft_drift.observe(finished.draft_seconds, drafted * token + last)
        foreseen = self._verify(reused)[rows]
        self._verify_drift.observe(finished.seconds - finished.draft_seconds, foreseen)

    def _observe_shadow(self, shadow: ShadowTokens) -> None:
        for index, layer in enumerate(shadow.layers):
            row = shadow.confidence[index].tolist(), shadow.matched[index].tolist()
            self._exits.observe(layer, *row)


METHODS = {"auto": Auto}
