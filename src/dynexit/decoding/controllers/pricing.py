"""The value of rounds for `auto`: seconds by the table of costs, corrected by measured rounds.

Not responsible for acceptance rates (`estimates.py`) or for choosing a round (`auto.py`).
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from dynexit.decoding.controllers.base import LONGEST
from dynexit.decoding.controllers.tuning import TUNING
from dynexit.decoding.costs import Costs, rising
from dynexit.decoding.imagining import Chances
from dynexit.decoding.paying import best_promise, copy_price, draft_price, pays
from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Round, ShadowTokens
from dynexit.model.drafting_rule import Pricing

Odds = tuple[float, ...]  # by tenths of confidence
NO_DRAFT = Plan(0, shadow=())
LEAST = 0.1  # of the predicted seconds: nothing is ever assumed to be faster
COPY = "early-exit-int8"  # the drafter that runs a copy of the first layers


class Option(NamedTuple):
    """A possible round: its value in tokens beyond what its time brings at the present pace, and
    whether a draft's value is more than luck.

    Attributes:
        accepted: expected number of accepted tokens.
        slope: gain in value if the draft were twice as long at the same acceptance rate.
    """

    worth: float
    pays: bool
    plan: Plan
    accepted: float = 0.0
    slope: float = 0.0


class DraftSeconds(NamedTuple):
    """Seconds of a drafted token, of beginning and ending a draft, of one more row in a level, and
    of verifying 1, 2, ... rows after it.
    """

    token: float
    ends: float
    beside: float
    verify: list[float]


@lru_cache(maxsize=512)
def draft_seconds(
    costs: Costs, depth: int, vocabulary: int | None, drafter: str, layer: int
) -> DraftSeconds:
    """Seconds of drafting by the table, with exit layer `depth` and part of the head."""
    copied = drafter == COPY
    price = copy_price(costs, layer) if copied else draft_price(costs, layer, vocabulary)
    beside = costs.draft_beside(layer, vocabulary)
    return DraftSeconds(price.token, price.ends, beside, costs.verify(depth - price.reused))


@lru_cache(maxsize=64)
def row_seconds(costs: Costs, depth: int) -> tuple[float, ...]:
    """Seconds of verifying a draft's rows through all layers, row by row; never falling."""
    through = costs.verify(depth)[1 : TUNING.tokens + 2]
    return tuple(rising(after - now for now, after in pairwise(through)))


@dataclass
class Calibration:
    """The current ratio of actual to predicted seconds. Without recent rounds it returns to
    `expected`.

    Attributes:
        trust: weight of the expectation, in rounds.
    """

    actual: float = 0.0
    rounds: float = 0.0
    trust: float = 0.0
    memory: float = 0.95

    def observe(self, actual: float, foreseen: float) -> None:
        """Count a round; one that was held up by something else counts no more than fourfold."""
        self.actual += min(actual / foreseen, 4.0 * self.ratio()) if foreseen else 1.0
        self.rounds += 1.0

    def fade(self) -> None:
        """Note that a round has passed."""
        self.actual, self.rounds = self.actual * self.memory, self.rounds * self.memory

    def ratio(self, expected: float = 1.0) -> float:
        """Actual over predicted seconds."""
        counted = self.rounds + self.trust
        return (self.actual + self.trust * expected) / counted if counted else expected


@dataclass
class RowCalibration:
    """The current ratios of actual to predicted verification seconds: for the first row, which
    waits for memory, and for further rows, which take arithmetic.

    A least-squares fit of `actual = a * first + b * more` over the last rounds, together with
    `belief` artificial rounds of a few rows that take exactly the predicted time.
    """

    memory: float = 0.95
    belief: float = 2.0
    few: float = 0.3  # what those rows take, of a plain step
    _sums: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)

    def observe(self, actual: float, first: float, more: float) -> None:
        """Count a round; one that was held up by something else counts no more than fourfold."""
        base, rows = self.scales(first)
        actual, keep = min(actual, 4.0 * (base * first + rows * more)), self.memory
        xx, xy, yy, xt, yt = self._sums
        self._sums = (
            keep * xx + first * first,
            keep * xy + first * more,
            keep * yy + more * more,
            keep * xt + first * actual,
            keep * yt + more * actual,
        )

    def scales(self, first: float) -> tuple[float, float]:
        """(a, b), where a plain step is predicted to take `first`."""
        xx, xy, yy, xt, yt = self._sums
        usual, rare = self.belief * first * first, self.belief * (self.few * first) ** 2
        xx, yy, xt, yt = xx + usual, yy + rare, xt + usual, yt + rare
        spread = xx * yy - xy * xy
        if not spread > 0:  # passes that take no time
            return 1.0, 1.0
        base, rows = (xt * yy - yt * xy) / spread, (yt * xx - xt * xy) / spread
        return max(base, LEAST), max(rows, LEAST)


@dataclass
class Pace:
    """Tokens per second of the last rounds, each counting a tenth less than the one after it."""

    tokens: float
    seconds: float
    memory: float = 0.9

    def observe(self, tokens: int, seconds: float) -> None:
        """Count a round."""
        self.tokens = self.tokens * self.memory + tokens
        self.seconds = self.seconds * self.memory + seconds

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


class Prices:
    """Seconds of the parts of a round of one text, and their value in tokens at its pace.

    Attributes:
        pace: tokens per second of the last rounds.
    """

    def __init__(self, costs: Costs, depth: int, vocabulary: int | None) -> None:
        self._alone, self._depth, self._vocabulary = costs, depth, vocabulary
        self._batch_size, self._context = 1, 0
        self._use(costs)
        self._drafting, self._verifying = Calibration(trust=TUNING.drift), RowCalibration()
        self.pace = Pace(1.0, self.plain() / TUNING.hope)

    def share(self, batch_size: int) -> None:
        """Use costs of passes shared by this many texts, in powers of two, and adapt the pace."""
        self._batch_size = 1 << (batch_size - 1).bit_length()
        self._turn()

    def reach(self, context: int) -> bool:
        """Use costs of passes over so many positions, and adapt the pace. Returns whether these are
        others than before.
        """
        self._context = context
        return self._turn()

    def _turn(self) -> bool:
        costs = self._alone.shared(self._batch_size).at(self._context)
        if costs is self._costs:
            return False
        before = self._whole[1]
        self._use(costs)
        self.pace.seconds *= self._whole[1] / before
        return True

    def _use(self, costs: Costs) -> None:
        self._costs, self._whole = costs, costs.verify(self._depth)
        self._rows = row_seconds(costs, self._depth)

    def promising(self, sample: ShadowTokens, layers: tuple[int, ...]) -> bool:
        """Whether the exits' predictions for a sample justify drafting at a text's beginning."""
        rates = dict(zip(sample.layers, sample.matched.mean(axis=1), strict=True))
        exits = {layer: float(rates[layer]) for layer in layers if layer in rates}
        return best_promise(self._costs, self._depth, exits, self._vocabulary).pays

    def plain(self) -> float:
        """Seconds of a plain step."""
        return self._whole[1] * self._verifying.scales(self._whole[1])[0]

    def rows(self) -> list[float]:
        """Tokens that the time of verifying 0, 1, 2, ... rows would bring at the present pace."""
        seconds = self._whole[: TUNING.tokens + 2]
        base, late = self._verifying.scales(seconds[1])
        rate = self.pace.rate
        around, more = rate * (base - late) * seconds[1], rate * late
        return [0.0, *[around + more * each for each in seconds[1:]]]

    def floors(self) -> list[float]:
        """Tokens that the time of the first, second, ... row beyond a plain step would bring; never
        falling.
        """
        more = self.pace.rate * self._verifying.scales(self._whole[1])[1]
        return [more * each for each in self._rows]

    def draft(self, layer: int, copies: bool, chances: Chances, others: tuple[Odds, ...]) -> Option:
        """Drafting with a layer, or with its int8 copy where that is worth more.

        Args:
            others: odds of a token's second and third choice, if drafts may branch.
        """
        drafters = "early-exit", *([COPY] if copies and self._costs.copied_layer else [])
        options = (self._draft(name, layer, chances, others) for name in drafters)
        return max(options, key=lambda option: option.worth)

    def _draft(
        self, drafter: str, layer: int, chances: Chances, others: tuple[Odds, ...]
    ) -> Option:
        """A draft of every row and every level that is worth its time."""
        token, ends, beside, verify = self._draft_seconds(drafter, layer)
        beside = beside if others else 0.0
        rate, through = self.pace.rate, self._rows
        base, late = self._verifying.scales(self._whole[1])
        slow = self._drafting.ratio(base)
        around, more = rate * slow * beside, rate * late
        rows = [more * price + around for price in through]
        others = tuple(rank for rank in others if max(rank) >= rows[0])  # no other is ever kept
        level = rate * (slow * token + late * through[0]) / max(chances.mean, 0.01)
        pricing = Pricing((chances.odds, *others), tuple(rows), (level,) * TUNING.levels)
        drafts = chances.imagine(pricing)
        siblings = max(drafts.tokens - drafts.levels, 0.0)
        seconds = slow * (drafts.levels * token + ends + siblings * beside)
        whole_rows = int(drafts.tokens) + 1
        through_rows, after = verify[whole_rows : whole_rows + 2]
        through_rows += (drafts.tokens + 1.0 - whole_rows) * (after - through_rows)
        seconds += base * verify[1] + late * (through_rows - verify[1])
        tokens = 1.0 + drafts.accepted
        plan = Plan(layer, LONGEST, None, drafter, pricing, shadow=())
        worth, fixed = tokens - rate * seconds, slow * ends + base * verify[1]
        slope = drafts.accepted - rate * (seconds - fixed)
        paying = pays(tokens, seconds, base * self._whole[1])
        return Option(worth, paying, plan, drafts.accepted, slope)

    def _draft_seconds(self, drafter: str, layer: int) -> DraftSeconds:
        return draft_seconds(self._costs, self._depth, self._vocabulary, drafter, layer)

    def observe(self, finished: Round) -> None:
        """Take the seconds of a finished round."""
        self.pace.observe(finished.tokens, finished.seconds)
        if finished.shadow is None:
            self._calibrate(finished)

    def _calibrate(self, finished: Round) -> None:
        plan, drafted = finished.plan, finished.drafted
        self._drafting.fade()
        verify = self._whole
        if plan.exit_layer and drafted:
            token, ends, beside, verify = self._draft_seconds(plan.drafter, plan.exit_layer)
            depth = finished.depth
            foreseen = depth * token + ends + (drafted - depth) * beside
            self._drafting.observe(finished.draft_seconds, foreseen)
        actual = finished.seconds - finished.draft_seconds
        self._verifying.observe(actual, verify[1], verify[drafted + 1] - verify[1])


@lru_cache(maxsize=64)
def proposed(depth: int) -> Plan:
    """The plan that drafts an offer with paths of this many tokens."""
    return Plan(0, depth, drafter="sources", shadow=())
