"""`auto`: the round that promises most text per second on this machine (docs/auto.md).

Every kind of round is worth the tokens that it is expected to bring, less what its time is worth at
the present pace; the one worth most is played. Plain steps are among them, so that where nothing
helps, little is tried.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dynexit.decoding.controllers.base import Controller, check_exit_layer
from dynexit.decoding.drafters.lookup import MOST
from dynexit.decoding.estimates import LONGEST, ExitEstimates, LookupEstimates, Pace
from dynexit.decoding.records import Offer, Plan, Round, ShadowTokens
from dynexit.errors import DynexitError

REPLAN = 4  # rounds between two choices of the exit layer
DENSE, SPARSE, FIRST = 4, 16, 16  # rounds between shadow analyses, at first and later
LOYALTY = 0.05  # tokens a round that another exit layer must be worth more to replace the present
ENOUGH = 24  # positions after which a layer is known
CANDIDATES = 8  # exit layers at most
TRIMMED = 8  # the head's tokens over those that exits read
WORTHWHILE = 0.03  # of a drafted token's time that a trimmed head must save


@dataclass(frozen=True)
class Option:
    """A kind of round, and what it is expected to bring and to take."""

    tokens: float
    seconds: float
    exit_layer: int = 0
    length: int = 0
    floors: tuple[float, ...] = ()

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
        exit_layer: fixes the exit layer.
    """

    reads_shadow: ClassVar[bool] = True
    reads_costs: ClassVar[bool] = True
    drafters: ClassVar[tuple[str, ...]] = ("early-exit", "lookup")

    exits: bool = True
    lookup: bool = True
    shadow: bool = True
    exit_layer: int | None = None

    def start(self, num_layers: int) -> None:
        """Forget the last prompt."""
        super().start(num_layers)
        if self.costs is None:
            raise DynexitError("auto needs the costs of passes: set `costs` (see costs_of).")
        self._layers = self._candidates() if self.exits else ()
        self.shadow_layers = max(self._layers, default=0)
        self._costs = self.costs
        self._tables: dict[int, list[float]] = {}
        self._exits = ExitEstimates(self._layers)
        self._found = LookupEstimates()
        plain = self._plain()
        self._pace = Pace(4.0, 3.0 * plain.seconds)
        self._offer: Offer | None = None
        self._option: Option | None = None
        self._layer = self._default() if self._layers else 0
        self._rounds = 0

    def _candidates(self) -> tuple[int, ...]:
        """Exit layers up to half the depth, closer together where they are shallow."""
        if self.exit_layer is not None:
            check_exit_layer(self.exit_layer, self.num_layers)
            return (self.exit_layer,)
        deepest = max(self.num_layers // 2, 1)
        steps = np.linspace(0, 1, CANDIDATES) ** 1.5
        layers = 1 + np.round(steps * (deepest - 1)).astype(int)
        return tuple(int(layer) for layer in dict.fromkeys(layers) if layer < self.num_layers)

    def _default(self) -> int:
        """The candidate nearest to a quarter of the depth."""
        return min(self._layers, key=lambda layer: abs(layer - self.num_layers / 4))

    def consider(self, offer: Offer) -> None:
        """What lookup has at hand for the next round."""
        self._offer = offer

    def plan(self) -> Plan:
        """The kind of round that is worth most."""
        rate = self._pace.rate
        if self._rounds % REPLAN == 0:
            self._option = self._best_exit(rate)
        best = self._plain()
        for option in (self._option, self._looked_up(rate)):
            if option is not None and option.worth(rate) > best.worth(rate):
                best = option
        shadow = self._shadowed(best)
        if best.exit_layer:
            odds = self._exits.odds(best.exit_layer)
            return Plan(best.exit_layer, LONGEST, floors=best.floors, odds=odds, shadow=shadow)
        return Plan(0, best.length, drafter="lookup", shadow=shadow)

    def _shadowed(self, option: Option) -> tuple[int, ...]:
        """Layers to analyse in this round."""
        every = DENSE if self._rounds < FIRST else SPARSE
        if not self.shadow or self._rounds % every or (option.length and not option.exit_layer):
            return ()
        return tuple(layer for layer in self._layers if layer != option.exit_layer)

    def _plain(self) -> Option:
        return Option(1.0, self._verify(0)[1])

    def _verify(self, exit_layer: int) -> list[float]:
        """Seconds of verifying 1, 2, ... rows above an exit, with all that is around passes; the
        first number is not used.
        """
        if exit_layer not in self._tables:
            costs, count = self._costs, self.num_layers - exit_layer
            self._tables[exit_layer] = [
                costs.round + costs.layers(count, rows) + costs.unembed(rows)
                for rows in range(MOST + 2)
            ]
        return self._tables[exit_layer]

    def _looked_up(self, rate: float) -> Option | None:
        """The offer, up to the token that is not worth its row."""
        if not self.lookup or self._offer is None:
            return None
        seconds, tokens, length = self._verify(0), 1.0, 0
        for chance in self._found.chances(self._offer.match, len(self._offer.tokens)):
            if chance < rate * (seconds[length + 2] - seconds[length + 1]):
                break
            length, tokens = length + 1, tokens + chance
        return Option(tokens, seconds[length + 1], length=length) if length else None

    def _best_exit(self, rate: float) -> Option | None:
        """The exit layer whose imagined drafts are worth most; the present one unless by far."""
        if not self._layers:
            return None
        kept = self._draft(self._layer, rate)
        known = (layer for layer in self._layers if self._exits.seen(layer) >= ENOUGH)
        best = max(
            (self._draft(layer, rate) for layer in known),
            key=lambda option: option.worth(rate),
            default=kept,
        )
        if best.worth(rate) - kept.worth(rate) > LOYALTY:
            kept = best
        self._layer = kept.exit_layer
        return kept

    def _draft(self, layer: int, rate: float) -> Option:
        """Drafting with a layer: on, while the next token is worth its time."""
        costs, chances, verify = self._costs, self._exits.drafts(layer), self._verify(layer)
        token = costs.draft(layer) + costs.unembed(1, self.draft_vocabulary)
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
        rows = verify[whole + 1] + (length - whole) * (verify[whole + 2] - verify[whole + 1])
        seconds = length * token + costs.draft(layer) + rows
        return Option(tokens, seconds, layer, LONGEST, tuple(floors))

    def observe(self, finished: Round) -> None:
        """Learn from what was drafted, offered and analysed."""
        self._rounds += 1
        self._offer = None
        spent = finished.draft_seconds + finished.verify_seconds + finished.control_seconds
        self._pace.observe(finished.tokens, spent)
        if finished.offer is not None:
            self._found.observe(finished.offer)
        layer, judged = finished.plan.exit_layer, min(finished.accepted + 1, finished.drafted)
        if layer and judged:
            matched = [index < finished.accepted for index in range(judged)]
            self._exits.observe(layer, finished.confidences[:judged], matched)
        if finished.shadow is not None:
            self._observe_shadow(finished.shadow)

    def _observe_shadow(self, shadow: ShadowTokens) -> None:
        for index, layer in enumerate(shadow.layers):
            if layer in self._layers:
                row = shadow.confidence[index].tolist(), shadow.matched[index].tolist()
                self._exits.observe(layer, *row)


METHODS = {"auto": Auto}
