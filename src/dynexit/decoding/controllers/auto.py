"""`auto`: the round that promises most text per second on this machine (docs/auto.md).

Every kind of round is worth the tokens that it is expected to bring, less what its time is worth at
the present pace; the one worth most is played. Plain steps are among them, so that where nothing
helps, little is tried.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynexit.costs.table import ROUGH
from dynexit.decoding.controllers.base import Controller, check_exit_layer
from dynexit.decoding.controllers.estimates import (
    LONGEST,
    Drift,
    ExitEstimates,
    Floats,
    LeafEstimates,
    LookupEstimates,
    Pace,
    Tenths,
)
from dynexit.decoding.records import Offer, Plan, Round, ShadowTokens

Mask = NDArray[np.bool_]

MOST = 24  # tokens that are looked up
REPLAN, COMPARE = 16, 32  # rounds between two looks at the present exit layer, and at all of them
ANALYSED = 32  # every so many rounds, the first time after half as many
ENOUGH = 24  # positions after which a layer is known
LOYALTY = 0.05  # tokens a round that another exit must be worth more to replace the present one
CANDIDATES = 8  # exit layers at most
WAITING = 0.3  # tokens that a draft must be worth more where others would wait for it
LEAST = 0.02  # tokens that a leaf must be worth: nothing is for free,
DEARER = 1.5  # and so many times the row that it takes
HOPE = 1.3  # of plain decoding's pace: the pace before anything is known


class Option(NamedTuple):
    """A kind of round, and what it is expected to bring and to take."""

    tokens: float
    seconds: float
    drafter: str = "lookup"
    exit_layer: int = 0
    length: int = 0
    floors: tuple[float, ...] = ()
    leaf_floor: float = 0.0

    def worth(self, rate: float) -> float:
        """Tokens beyond those that the same time brings at `rate` tokens per second."""
        return self.tokens - rate * self.seconds


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
    exit_layer: int | None = None
    carry: bool = False

    def __post_init__(self) -> None:
        self._started = False
        by_exits = ("early-exit", "early-exit-int8") if self.exits else ()
        self.drafters = (*by_exits, "lookup") if self.lookup else by_exits

    def start(self, num_layers: int) -> None:
        """Forget the last prompt, unless what was learned is carried."""
        if self.carry and self._started and num_layers == self.num_layers:
            return
        super().start(num_layers)
        self._started, self._costs = True, self.costs or ROUGH
        self._layers = self._candidates() if self.exits else ()
        self.shadow_layers = max(self._layers, default=1)
        self._layer = min(self._layers, key=lambda layer: abs(layer - num_layers / 4), default=0)
        self._exits, self._found = ExitEstimates(self._layers, self.sample), LookupEstimates()
        self._leaves = LeafEstimates()
        self._draft_drift, self._verify_drift = Drift(trust=4.0), Drift()
        self._pace = Pace(1.0, self._plain().seconds / HOPE)
        self._offer: Offer | None = None
        self._drafts: dict[tuple[str, int], tuple[float, float, int]] = {}
        self._rounds, self._company = 0, 1
        self._drafting = self._best_exit(self._pace.rate) if self._layers else None

    def _candidates(self) -> tuple[int, ...]:
        """Exit layers up to half the depth, closer together where they are shallow."""
        if self.num_layers < 2:
            return ()
        if self.exit_layer is not None:
            return (check_exit_layer(self.exit_layer, self.num_layers),)
        deepest = self.num_layers // 2
        steps = np.linspace(0, 1, CANDIDATES) ** 1.5 * (deepest - 1)
        quarter = max(self.num_layers // 4, 1)
        return tuple(sorted({1 + round(step) for step in steps} | {quarter}))

    def share(self, company: int) -> None:
        """Costs of passes that so many share, by powers of two; and the pace follows."""
        if company == self._company:
            return
        self._company = company
        costs = (self.costs or ROUGH).shared(1 << (company - 1).bit_length())
        if costs is not self._costs:
            before, self._costs = self._verify(0)[1], costs
            self._pace.seconds *= self._verify(0)[1] / before
            self._drafts, self._drafting = {}, None

    def consider(self, offer: Offer) -> None:
        """What lookup has at hand for the next round."""
        self._offer = offer

    def plan(self) -> Plan:
        """The kind of round that is worth most."""
        rate = self._pace.rate
        if self._layers and (self._drafting is None or self._due(REPLAN)):
            self._drafting = self._best_exit(rate)
        best = self._plain()
        needed = best.worth(rate) + (WAITING if self._company > 1 else 0.0)
        for option in (self._drafting, self._looked_up(rate)):
            if option is not None and option.worth(rate) > needed:
                best, needed = option, option.worth(rate)
        layers = self._analysed(best)
        if not best.exit_layer:
            return Plan(0, best.length, drafter=best.drafter, shadow=layers)
        odds = self._exits.odds(best.exit_layer)
        leaf_odds = self._leaves.odds if self._branches else ()
        return Plan(
            *(best.exit_layer, best.length, None, best.drafter, best.floors, odds, layers),
            *(leaf_odds, best.leaf_floor),
        )

    @property
    def _branches(self) -> bool:
        """Whether leaves may be drafted: not where several share passes."""
        return self.tree and self._company == 1

    def _due(self, every: int) -> bool:
        """Whether so many rounds have passed once more."""
        return self._rounds > 0 and self._rounds % every == 0

    def _analysed(self, option: Option) -> tuple[int, ...]:
        """Layers whose shadow tokens this round brings: the others, now and then, if alone."""
        turn = (self._rounds + ANALYSED // 2) % ANALYSED == 0
        if not (self.shadow and turn and self._company == 1) or (
            option.length and not option.exit_layer
        ):
            return ()
        return tuple(layer for layer in self._layers if layer != option.exit_layer)

    def _plain(self) -> Option:
        return Option(1.0, self._verify(0)[1] * self._verify_drift.ratio())

    def _verify(self, exit_layer: int) -> list[float]:
        """Seconds of verifying 1, 2, ... rows above an exit."""
        return self._costs.verify(self.num_layers - exit_layer)

    def _looked_up(self, rate: float) -> Option | None:
        """The offer, up to the token that is not worth its row."""
        if not self.lookup or self._offer is None:
            return None
        seconds, drift = self._verify(0), self._verify_drift.ratio()
        tokens, length = 1.0, 0
        most = min(len(self._offer.tokens), MOST)
        for chance in self._found.chances(self._offer.match, most):
            if chance < rate * drift * (seconds[length + 2] - seconds[length + 1]):
                break
            length, tokens = length + 1, tokens + chance
        return Option(tokens, seconds[length + 1] * drift, length=length) if length else None

    def _best_exit(self, rate: float) -> Option:
        """Drafting with the exit layer that is worth most; the present one unless by far."""
        kept = self._with_layer(self._layer, rate)
        if not self._due(COMPARE):
            return kept
        known = [layer for layer in self._layers if self._exits.seen(layer) >= ENOUGH]
        options = (self._with_layer(layer, rate) for layer in known if layer != self._layer)
        best = max(options, key=lambda option: option.worth(rate), default=kept)
        if best.worth(rate) - kept.worth(rate) > LOYALTY:
            kept = best
        self._layer = kept.exit_layer
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
        chances, tenths = self._exits.drafts(layer)
        verify = [v * late for v in self._verify(reused)]
        mean = max(float(chances[:, 0].mean()), 0.01)
        floors = [  # of going on after 1, 2, ... tokens
            rate * (token + verify[length + 2] - verify[length + 1]) / mean
            for length in range(1, LONGEST)
        ]
        drafted = np.ones_like(chances, dtype=bool)
        drafted[:, 1:] = np.logical_and.accumulate(chances[:, :-1] >= floors, axis=1)
        length = float(drafted.sum(1).mean())
        tokens = 1.0 + float((chances * drafted).sum(1).mean())
        whole = int(length)
        row = verify[whole + 2] - verify[whole + 1]
        rows = verify[whole + 1] + (length - whole) * row
        floor = max(DEARER * row * rate, LEAST)
        extra, taken = self._grown(chances, tenths, drafted, floor)
        return Option(
            *(tokens + extra, length * token + last + rows + taken * row, drafter, layer, LONGEST),
            *(tuple(floors), floor),
        )

    def _grown(
        self, chances: Floats, tenths: Tenths, drafted: Mask, floor: float
    ) -> tuple[float, float]:
        """What leaves above `floor` add to imagined drafts: tokens and rows."""
        if not self._branches:
            return 0.0, 0.0
        before = np.concatenate((np.ones((len(chances), 1)), chances[:, :-1]), axis=1)
        odds = before * np.array(self._leaves.odds)[tenths] * drafted
        odds[odds < floor] = 0.0
        return float(odds.sum(1).mean()), float((odds > 0.0).sum(1).mean())

    def observe(self, finished: Round) -> None:
        """Learn from what was drafted, offered and analysed."""
        self._rounds += 1
        self._offer = None
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
