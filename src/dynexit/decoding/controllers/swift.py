"""SWIFT: searches while it writes for the sublayers that drafts leave out (arXiv 2410.06916).

As long as the search lasts, each round judges one more set, by how many of the text's last tokens
one pass without these sublayers reproduces. Rounds draft with the best set so far.
"""

import random
from dataclasses import dataclass
from typing import Annotated

from dynexit.decoding.controllers.base import Share
from dynexit.decoding.controllers.bayesian import propose
from dynexit.decoding.controllers.skipping import SkippingController, inner_sublayers, spread
from dynexit.decoding.facts import Facts
from dynexit.decoding.plans import Skipping
from dynexit.decoding.records import Round
from dynexit.model.skips import Skips
from dynexit.plain import Within

Count = Annotated[int, Within(0, 100_000)]
Window = Annotated[int, Within(1, 64)]


@dataclass
class Swift(SkippingController):
    """Leaves out `skipped` of the sublayers of all but the first and the last layer.

    The sets on trial are random, but each one after `bayesian` others is the likeliest to be better
    (0: none is). The search ends when a set reproduces `enough` of the last `window` tokens, after
    `patience` sets without gain, or after `steps` sets. With `carry` it goes on from prompt to
    prompt, as published; otherwise every prompt starts anew.
    """

    skipped: Share = 0.45
    window: Window = 32
    enough: Share = 0.9
    patience: Count = 300
    steps: Count = 1_000
    bayesian: Count = 25
    carry: bool = True

    def __post_init__(self) -> None:
        self._search: Search | None = None

    def start(self, facts: Facts) -> None:
        """Begin a search, unless one goes on."""
        super().start(facts)
        search = self._search
        if not self.carry or search is None or len(search.best) != facts.num_layers:
            self._search = Search(facts.num_layers, self.skipped, self.bayesian)

    def skipping(self) -> Skipping:
        """The best set so far, and one to judge as long as the search lasts."""
        assert self._search is not None
        over = self._is_over(self._search)
        return Skipping(self._search.best, None if over else self._search.trial, self.window)

    def _is_over(self, search: "Search") -> bool:
        idle = search.judged - search.improved
        return search.score >= self.enough or idle >= self.patience or search.judged >= self.steps

    def observe(self, finished: Round) -> None:
        """Take how the set did that was on trial."""
        super().observe(finished)
        if self._search is not None and finished.agreement is not None:
            self._search.judge(finished.agreement)


class Search:
    """A search over sets of one size. The first on trial is evenly spread.

    Args:
        share: of the sublayers between the first and the last layer.
        bayesian: every so many sets, one by Bayesian optimisation; 0 is none.

    Attributes:
        best, score: the set that reproduced the most, and its share of the tokens.
        trial: the set to judge next.
        judged: sets judged so far; `improved` is what that was at the last gain.
    """

    def __init__(self, num_layers: int, share: float, bayesian: int = 0) -> None:
        self._random, self._tried = random.Random(0), list[tuple[Skips, float]]()
        self._bayesian = bayesian
        self.best = self.trial = spread(num_layers, share)
        self._inner = inner_sublayers(num_layers)
        self.score, self.judged, self.improved = -1.0, 0, 0

    def judge(self, agreement: float) -> None:
        """Take the result of the trial, and propose another."""
        self.judged += 1
        self._tried.append((self.trial, agreement))
        if agreement > self.score:
            self.best, self.score, self.improved = self.trial, agreement, self.judged
        self.trial = self._proposed()

    def _proposed(self) -> Skips:
        """A set as large as the first."""
        if self._bayesian and self.judged > 1 and self.judged % self._bayesian == 0:
            return propose(self._tried, self._inner, self._random)
        out = self._random.sample(self._inner, len(self.best.sublayers))
        return Skips.of(len(self.best), out)


METHODS = {"swift": Swift}
