"""Lookahead decoding (Fu et al. 2024, arXiv 2402.02057): how wide its window is.

Published are N = 5 with W = G = 7 (the reference) and W = G = 15 (llama.cpp). Where rows cost, less
is more: `window=measured` takes as many as the measured costs allow.

Not responsible for guesses and n-grams (`drafters/lookahead.py`).
"""

from dataclasses import dataclass
from itertools import takewhile
from typing import Annotated, Literal

from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.costs import ROUGH
from dynexit.decoding.facts import Facts
from dynexit.decoding.plans import PLAIN_STEP, LookaheadSize, Plan
from dynexit.decoding.records import Round
from dynexit.plain import Within

WIDEST = 16
Width = Annotated[int, Within(0, WIDEST)]

# Chosen, not tuned on any text.
EXPECTED = 0.5  # accepted tokens per round before any is seen: the least that the authors report
TRUST = 2.0  # rounds that this counts for
SHARE = 0.5  # of what accepted tokens save, that rows may cost
STRETCH = 16  # rounds with the same window, so that its guesses can ripen
MEMORY = 0.98  # of what was accepted, per round: 50 rounds


@dataclass
class Lookahead(Controller):
    """Verifies a window of guesses and the n-grams that it has left in the pool.

    A round's further rows may cost up to half of what it saves by accepted tokens. Without a window
    that is so cheap, the latest n-gram is drafted alone, as far as its rows are; without those, the
    round is a plain step. What was seen fades, so that drafts are tried again.
    """

    drafters = ("lookahead",)

    window: Width | Literal["measured"] = "measured"  # columns of guesses, W
    ngram: Annotated[int, Within(2, 8)] = 5  # tokens of an n-gram, N
    pool: Width | None = None  # n-grams that are verified, G; None: as many as columns

    def __post_init__(self) -> None:
        self.reads_costs = self.window == "measured"

    def start(self, facts: Facts) -> None:
        """Forget what was accepted in the last text."""
        super().start(facts)
        self._costs, self._batch_size, self._context = facts.costs or ROUGH, 1, 0
        self._accepted = self._drafts = 0.0
        self._rounds, self._planned = 0, PLAIN_STEP

    def share(self, batch_size: int) -> None:
        """Take the number of texts that share the next passes."""
        if batch_size != self._batch_size:
            self._batch_size, self._rounds = batch_size, 0

    def reach(self, context: int) -> None:
        """Take the number of tokens so far."""
        self._context = context

    def plan(self) -> Plan:
        """Plan as set, or as wide as it pays."""
        if self._rounds % STRETCH == 0:
            width = self.window
            self._planned = self._affordable() if isinstance(width, str) else self._of(width)
        return self._planned

    def _of(self, window: int) -> Plan:
        """A round with a window."""
        levels = max(window - 2, 0) + self.ngram - 1
        size = LookaheadSize(window, self.ngram, self._verified(window))
        return Plan(0, levels, drafter="lookahead", settings=size)

    def _verified(self, window: int) -> int:
        """n-grams that are verified beside a window."""
        return max(window, 1) if self.pool is None else self.pool

    def _affordable(self) -> Plan:
        """The widest round whose rows cost no more than they may."""
        rows = self._rows()
        wide = [w for w in range(1, WIDEST + 1) if self._rows_of(w) <= rows]
        if wide and self._batch_size == 1:
            return self._of(wide[-1])
        size = LookaheadSize(0, self.ngram, 1)
        return Plan(0, min(rows, self.ngram - 1), drafter="lookahead", settings=size)

    def _rows_of(self, window: int) -> int:
        """Rows of a round beside the newest token's."""
        return (window + self._verified(window)) * (self.ngram - 1) - 1

    def _rows(self) -> int:
        """Rows beside the newest token's that cost no more than they may."""
        costs = self._costs.shared(self._batch_size).at(self._context)
        seconds = costs.verify(self.num_layers)[1:]
        expected = (EXPECTED * TRUST + self._accepted) / (TRUST + self._drafts)
        most = seconds[0] * (1.0 + SHARE * expected)
        return len([*takewhile(lambda each: each <= most, seconds[1:])])

    def observe(self, finished: Round) -> None:
        """Count what a draft brought."""
        self._rounds += 1
        self._accepted = MEMORY * self._accepted + finished.accepted
        self._drafts = MEMORY * self._drafts + (finished.drafted > 0)


METHODS = {"lookahead": Lookahead}
