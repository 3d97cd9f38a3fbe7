"""Grows the proposers' candidates into one tree before a round, best first."""

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import accumulate
from typing import Any

from dynexit.decoding.proposers import Proposer
from dynexit.decoding.records import Draft, Evidence, Source
from dynexit.model.drafting_rule import depths

CONTEXT = 32  # tokens that a proposer sees before those that it proposes

Places = tuple[Any, ...]  # of a token, one for each proposer
# A token that may join the tree: its chance, negated, so that the likeliest comes first; a number,
# by which the one that was found first comes before its equals; parent, token, source and places.
Leaf = tuple[float, int, int, int, Source, Places]


class Panel:
    """The proposers of one text, asked in this order; itself what it offers: `records.Offer`.

    Attributes:
        priors: of each one's kinds of evidence.
        members: of each what it is asked, what its tokens are called, and its first kind's number.
        ends: tokens that nothing follows.
    """

    def __init__(self, proposers: Sequence[Proposer], ends: frozenset[int] = frozenset()) -> None:
        self._proposers, self.ends = proposers, ends
        self.priors = tuple(one.priors for one in proposers)
        firsts = [0, *accumulate(map(len, self.priors))]
        self.members = [
            (one.after, one.source, first) for one, first in zip(proposers, firsts, strict=False)
        ]
        self._right, self._seen = [0] * firsts[-1], [0] * firsts[-1]
        self._tree: Tree | None = None
        self.size = self.depth = 0

    def begin(self, tokens: list[int]) -> None:
        """Begin a text with its prompt; the list grows with the text."""
        self._tokens = tokens
        for one in self._proposers:
            one.begin(tokens)

    def offer(self, chain: bool) -> "Panel":
        """The offer for the next round; it grows later.

        Args:
            chain: whether the tree must not branch.
        """
        self._chain = chain
        return self

    def grow(self, odds: Sequence[float], floors: Sequence[float]) -> float:
        """See `records.Offer`."""
        self._judge()
        tail, places = self._tokens[-CONTEXT:], tuple([one.place() for one in self._proposers])
        self._tree, self._read = Tree(self, tail, self._chain), len(self._tokens)
        expected = self._tree.grow(places, odds, floors)
        self.size, self.depth = self._tree.size, self._tree.depth
        return expected

    def draft(self, depth: int) -> Draft:
        """See `records.Offer`."""
        return Draft() if self._tree is None else self._tree.draft(depth)

    def evidence(self) -> Evidence:
        """See `records.Offer`."""
        self._judge()
        told = Evidence(self._right, self._seen)
        self._right, self._seen = [0] * len(told.right), [0] * len(told.seen)
        return told

    def _judge(self) -> None:
        """Count how the last tree compared with the text."""
        if self._tree is not None and (text := self._tokens[self._read :]):
            for kind, right in self._tree.judge(text):
                self._right[kind] += right
                self._seen[kind] += 1
            self._tree = None


class Tree:
    """A tree of proposed tokens. Row 0 is the text's newest token, row i the i-th node.

    A token's chance is its path's, times how often evidence of its kind was right. Where several
    proposers name the same token, it is one node, and their evidence counts as independent; what a
    later one names besides counts where the earlier ones are wrong.

    Args:
        tail: the text's last tokens.
    """

    def __init__(self, panel: Panel, tail: list[int], chain: bool) -> None:
        self._panel, self._chain = panel, chain
        self._tokens: list[int] = []
        self._parents: list[int] = []
        self._sources: list[Source] = []
        self._depths, self._paths = [0], [tail]
        self._rows: dict[tuple[int, int], int] = {}  # by parent and token
        self._seen: list[list[tuple[int, int]]] = [[]]  # of each row: tokens, kinds of evidence
        self._leaves: list[Leaf] = []
        self._found = 0

    def grow(self, places: Places, odds: Sequence[float], floors: Sequence[float]) -> float:
        """See `records.Offer`.

        Args:
            places: where the text ends, as each proposer wants to know it.
        """
        self._open(1.0, places, odds, floors)
        expected, count = 0.0, 0
        while self._leaves and count < len(floors):
            unlikely, _, parent, token, source, places = heappop(self._leaves)
            if -unlikely < floors[count]:
                break
            expected -= unlikely
            count += 1
            self._add(parent, token, source)
            if count < len(floors) and token not in self._panel.ends:
                self._open(-unlikely, places, odds, floors)
        return expected

    def _add(self, parent: int, token: int, source: Source) -> None:
        self._tokens.append(token)
        self._parents.append(parent)
        self._sources.append(source)
        self._depths.append(self._depths[parent] + 1)
        self._paths.append([*self._paths[parent][1 - CONTEXT :], token])
        self._rows[parent, token] = len(self._tokens)
        self._seen.append([])
        if self._chain:
            self._leaves.clear()

    def _open(
        self, chance: float, places: Places, odds: Sequence[float], floors: Sequence[float]
    ) -> None:
        """Take children of the newest row as leaves, but for those that no row is left for."""
        row = len(self._tokens)
        least = floors[row] if row < len(floors) else 1.0
        for token, (likely, source, after) in self._named(row, places, odds).items():
            if chance * likely >= least:
                self._found += 1
                leaf = -chance * likely, self._found, row, token, source, after
                heappush(self._leaves, leaf)

    def _named(
        self, row: int, places: Places, odds: Sequence[float]
    ) -> dict[int, tuple[float, Source, Places]]:
        """Tokens that may follow a row: how likely each is there, whose it is, and its places."""
        found: dict[int, tuple[float, Source, Places]] = {}
        path, seen, right = self._paths[row], self._seen[row], 0.0
        for index, (after, source, first) in enumerate(self._panel.members):
            wrong = 1.0 - right
            for token, kind, place in after(path, places[index]):
                seen.append((token, first + kind))
                if token in found:
                    likely, its, known = found[token]
                    more = odds[first + kind] * (1.0 - likely)
                else:
                    likely, its, known = 0.0, source, (None,) * len(places)
                    more = odds[first + kind] * wrong
                if place is not None:
                    known = (*known[:index], place, *known[index + 1 :])
                found[token] = likely + more, its, known
                right += more
        return found

    @property
    def depth(self) -> int:
        """Tokens of its longest path."""
        return max(self._depths)

    @property
    def size(self) -> int:
        """Tokens that it has."""
        return len(self._tokens)

    def draft(self, depth: int) -> Draft:
        """See `records.Offer`."""
        return drafted(self._tokens, self._parents, self._sources, depth)

    def judge(self, text: Sequence[int]) -> Iterator[tuple[int, bool]]:
        """Kinds of evidence, and whether it was right, as far as the text went on in the tree."""
        row: int | None = 0
        for token in text:
            if row is None:
                break
            yield from ((kind, said == token) for said, kind in self._seen[row])
            row = self._rows.get((row, token))


def drafted(tokens: list[int], parents: list[int], sources: list[Source], depth: int) -> Draft:
    """The first levels of a tree, whose rows follow their `parents`."""
    levels = depths(parents)[1:]
    if levels and depth < max(levels):
        kept = [row for row, level in enumerate(levels, 1) if level <= depth]
        rows = {0: 0} | {row: number for number, row in enumerate(kept, 1)}
        parents = [rows[parents[row - 1]] for row in kept]
        tokens = [tokens[row - 1] for row in kept]
        sources = [sources[row - 1] for row in kept]
    branches = parents != list(range(len(parents)))
    return Draft(tokens, parents=parents if branches else None, sources=sources)
