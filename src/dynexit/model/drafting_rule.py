"""How a draft grows, level by level, and when it ends: numbers alone, without PyTorch.

A draft is a tree. Row 0 is the newest committed token, row i the i-th drafted token, each a child
of an earlier row. A chain is a tree without branches. The native library has the same rule in
`native/drafting.h`; `tests/model/test_growth.py` holds both to the same answers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import NamedTuple

from dynexit.model.skips import Skips
from dynexit.model.text_tokens import TextTokens
from dynexit.model.windows import Window


class Pricing(NamedTuple):
    """What the tokens of a draft must be worth.

    The chance of a token, that the target writes it and all that it follows, is its parent's times
    `odds[rank][part]`: `rank` is its place among its parent's children, from 0, and `part` says in
    which of as many equal parts of 0 to 1 the probability of the best of these lies.

    Attributes:
        odds: [ranks][parts]; a row has as many children as there are ranks.
        rows: the n-th token is kept while its chance is at least `rows[n - 1]`, so there are at
            most as many tokens.
        levels: the level after level n is drafted where the chances of the tokens there that may
            have children sum up to at least `levels[n - 1]`.
    """

    odds: tuple[tuple[float, ...], ...]
    rows: tuple[float, ...]
    levels: tuple[float, ...]

    def with_children(self, most: int) -> "Pricing":
        """The same where a row has so many children at most."""
        return self._replace(odds=self.odds[:most])


@dataclass(frozen=True)
class DraftingRule:
    """How to draft, and until when.

    Attributes:
        exit_layer: a row's pass runs layers [0, exit_layer).
        depth: levels at most.
        threshold: a token that is less likely than this has no children.
        pricing: what tokens must be worth; without it the draft is a chain.
        eos: nor has one of these.
        limit: so many tokens of the head are read; None is all.
        finish: whether the last level runs through the layers, too: its states are wanted.
        skips: sublayers that the draft leaves out; it is a chain, and its last level runs through
            the whole layers before them only.
        window: what rows see of the cache; None is all.
        text_tokens: tokens of the text that are read, too.
    """

    exit_layer: int
    depth: int
    threshold: float = 0.0
    pricing: Pricing | None = None
    eos: frozenset[int] = frozenset()
    limit: int | None = None
    finish: bool = True
    skips: Skips | None = None
    window: Window | None = None
    text_tokens: TextTokens | None = None

    @property
    def whole(self) -> int:
        """Layers before the first that lacks something."""
        return self.exit_layer if self.skips is None else min(self.skips.whole, self.exit_layer)

    @property
    def nodes(self) -> int:
        """Drafted tokens at most."""
        return self.depth if self.pricing is None else len(self.pricing.rows)

    @property
    def ranks(self) -> int:
        """Children of a row at most."""
        return 1 if self.pricing is None else len(self.pricing.odds)

    @property
    def reads_confidence(self) -> bool:
        """Whether the draft may end by how sure it is."""
        return self.threshold > 0 or self.pricing is not None

    def slot(self, start: int) -> int:
        """Where rows that are not at home begin in the cache of a sequence whose row 0 stands at
        `start`: row i is in slot `slot + i`.
        """
        return start + self.nodes + 1


class Child(NamedTuple):
    """A candidate: it follows row `parent` as the one of that rank, with probability `likelihood`;
    `best` is the probability of that parent's best child.
    """

    parent: int
    rank: int
    token: int
    likelihood: float
    best: float


@dataclass
class Nodes:
    """The tokens of a draft, in levels, and in each level the most likely first.

    Attributes:
        parents: of each token, the row that it follows; row i is token i - 1.
        ranks: of each, its place among its parent's children, from 0.
        confidences: of each, the probability of the best of these.
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)

    @classmethod
    def chain(cls, tokens: list[int], confidences: list[float]) -> "Nodes":
        """Tokens that follow one another."""
        return cls(tokens, list(range(len(tokens))), [0] * len(tokens), confidences)


class Growth:
    """A draft that grows by a rule.

    Attributes:
        nodes: so far.
        level: levels so far.
        open: rows of the last level that may have children.
        fresh: all rows of the last level.
    """

    def __init__(self, rule: DraftingRule) -> None:
        self._rule = rule
        self.nodes, self.level, self.open = Nodes(), 0, [0]
        self.fresh = range(1)
        self._chances = [1.0]

    @property
    def over(self) -> bool:
        """Whether no further level is drafted."""
        rule, count = self._rule, len(self.nodes.tokens)
        if self.level == rule.depth or count == rule.nodes or not self.open:
            return True
        if rule.pricing is None or not 0 < self.level <= len(rule.pricing.levels):
            return False
        total = sum(self._chances[row] for row in self.open)
        return not total >= rule.pricing.levels[self.level - 1]

    def levels(self) -> Iterator[bool]:
        """The levels whose rows run through the layers, one after the other: of each, whether it is
        the last. Callers run `fresh` and add the next one (`follow`, `grow`), but for the last;
        a level that nothing follows ends the draft.
        """
        while self._rule.finish or not self.over:
            yield (last := self.over)
            if last or not self.fresh:
                return

    def follow(self, found: Sequence[Sequence[tuple[int, float]]]) -> bool:
        """As `grow`.

        Args:
            found: of each open row, the most likely tokens after it and their probabilities, the
                most likely first; what has none is no child.
        """
        return self.grow(
            [
                Child(row, rank, token, likely, after[0][1])
                for row, after in zip(self.open, found, strict=True)
                for rank, (token, likely) in enumerate(after)
                if likely != 0
            ]
        )

    def grow(self, children: Sequence[Child]) -> bool:
        """Add a level: those of the open rows' children that are worth it. Returns whether any is.

        A child whose probability is no number is none.
        """
        known = [child for child in children if not isnan(child.likelihood)]
        chances = {id(child): self._chance(child) for child in known}
        begin, self.open = len(self._chances), []
        for child in sorted(known, key=lambda child: -chances[id(child)]):
            if not self._keeps(chances[id(child)]):
                break
            self._add(child, chances[id(child)])
        self.level += 1
        self.fresh = range(begin, len(self._chances))
        return len(self.fresh) > 0

    def _keeps(self, chance: float) -> bool:
        count, pricing = len(self.nodes.tokens), self._rule.pricing
        if count == self._rule.nodes:
            return False
        return pricing is None or chance >= pricing.rows[count]

    def _chance(self, child: Child) -> float:
        pricing = self._rule.pricing
        if pricing is None:
            return self._chances[child.parent]
        odds = pricing.odds[child.rank]
        return self._chances[child.parent] * odds[part_of(child.best, len(odds))]

    def _add(self, child: Child, chance: float) -> None:
        nodes = self.nodes
        nodes.tokens.append(child.token)
        nodes.parents.append(child.parent)
        nodes.ranks.append(child.rank)
        nodes.confidences.append(child.best)
        self._chances.append(chance)
        sure = child.likelihood >= self._rule.threshold
        if sure and child.token not in self._rule.eos:
            self.open.append(len(nodes.tokens))


def part_of(confidence: float, parts: int) -> int:
    """Which of so many equal parts of 0 to 1 a confidence lies in, counted from 0."""
    return min(int(confidence * parts), parts - 1)


def homes(parents: Sequence[int]) -> list[bool]:
    """Of each row of a tree, from row 0 on, whether its keys and values are kept at its own
    position: it is the first child of a row of which that holds.
    """
    home, followed = [True], set()
    for parent in parents:
        home.append(home[parent] and parent not in followed)
        followed.add(parent)
    return home


def depths(parents: Sequence[int]) -> list[int]:
    """Of each row of a tree, from row 0 on, its level: how many rows it follows."""
    found = [0]
    for parent in parents:
        found.append(found[parent] + 1)
    return found
