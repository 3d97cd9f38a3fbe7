"""What proposers have at hand before a round, grown into one tree: best first."""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any, NamedTuple

from dynexit.decoding.proposers import Proposer
from dynexit.decoding.records import Draft, Source

CONTEXT = 3  # tokens of the text that a path begins with
Places = tuple[Any, ...]  # of a token, one for each proposer


class _Leaf(NamedTuple):
    """A token that may join the tree; the likeliest sorts first, of equals the one found first."""

    unlikely: float  # its chance, negated
    found: int
    parent: int
    token: int
    source: Source
    places: Places


class Tree:
    """A tree of proposed tokens. Row 0 is the text's newest token, row i the i-th node.

    A token's chance is its path's, times how often evidence of its kind was right. Where several
    proposers name the same token, it is one node, and their evidence counts as independent; what a
    later one names besides counts where the earlier ones are wrong.

    Args:
        ends: tokens that end the text: nothing follows them.
        chain: whether it must not branch.

    Attributes:
        priors: of all proposers' kinds of evidence, one after the other.
    """

    def __init__(
        self,
        proposers: Sequence[Proposer],
        tokens: Sequence[int],
        ends: frozenset[int],
        chain: bool,
    ) -> None:
        self._proposers, self._ends, self._chain = proposers, ends, chain
        self._tail = tokens[-CONTEXT:]
        self._places: Places = tuple(one.place() for one in proposers)
        self._nowhere = (None,) * len(proposers)
        self.priors = tuple(prior for one in proposers for prior in one.priors)
        self._clear()

    def _clear(self) -> None:
        self._tokens: list[int] = []
        self._parents: list[int] = []
        self._sources: list[Source] = []
        self._depths, self._paths = [0], [self._tail]
        self._seen: list[list[tuple[int, int]]] = [[]]  # of each row: tokens, kinds of evidence
        self._heap: list[_Leaf] = []
        self._found = 0

    def grow(self, odds: Sequence[float], floors: Sequence[float]) -> float:
        """See `records.Offer`."""
        self._clear()
        self._open(1.0, self._places, odds, floors)
        expected = 0.0
        while self._heap and len(self._tokens) < len(floors):
            leaf = heappop(self._heap)
            chance = -leaf.unlikely
            if chance < floors[len(self._tokens)]:
                break
            expected += chance
            self._add(leaf)
            if leaf.token not in self._ends:
                self._open(chance, leaf.places, odds, floors)
        return expected

    def _add(self, leaf: _Leaf) -> None:
        self._tokens.append(leaf.token)
        self._parents.append(leaf.parent)
        self._sources.append(leaf.source)
        self._depths.append(self._depths[leaf.parent] + 1)
        self._paths.append([*self._paths[leaf.parent], leaf.token])
        self._seen.append([])
        if self._chain:
            self._heap.clear()

    def _open(
        self, chance: float, places: Places, odds: Sequence[float], floors: Sequence[float]
    ) -> None:
        """Take children of the newest row as leaves, but for those that no row is left for."""
        row = len(self._tokens)
        if row >= len(floors):
            return
        found, least = self._named(row, places, odds), floors[row] / chance
        for token, (likely, source, after) in found.items():
            if likely >= least:
                self._found += 1
                leaf = _Leaf(-chance * likely, self._found, row, token, source, after)
                heappush(self._heap, leaf)

    def _named(
        self, row: int, places: Places, odds: Sequence[float]
    ) -> dict[int, tuple[float, Source, Places]]:
        """Tokens that may follow a row: how likely each is there, whose it is, and its places."""
        found: dict[int, tuple[float, Source, Places]] = {}
        path, seen, first, right = self._paths[row], self._seen[row], 0, 0.0
        for index, one in enumerate(self._proposers):
            wrong = 1.0 - right
            for token, kind, place in one.after(path, places[index]):
                seen.append((token, first + kind))
                likely, source, known = found.get(token, (0.0, one.source, self._nowhere))
                more = odds[first + kind] * ((1.0 - likely) if likely else wrong)
                right = min(right + more, 1.0)
                if place is not None:
                    known = (*known[:index], place, *known[index + 1 :])
                found[token] = likely + more, source, known
            first += len(one.priors)
        return found

    @property
    def depth(self) -> int:
        """See `records.Offer`."""
        return max(self._depths)

    @property
    def size(self) -> int:
        """See `records.Offer`."""
        return len(self._tokens)

    def draft(self, depth: int) -> Draft:
        """The tree's first levels."""
        kept = [row for row, level in enumerate(self._depths) if 0 < level <= depth]
        rows = {0: 0} | {row: number for number, row in enumerate(kept, 1)}
        parents = [rows[self._parents[row - 1]] for row in kept]
        branches = any(parent != row for row, parent in enumerate(parents))
        return Draft(
            [self._tokens[row - 1] for row in kept],
            parents=parents if branches else None,
            sources=[self._sources[row - 1] for row in kept],
        )

    def judge(self, text: Sequence[int]) -> list[tuple[int, bool]]:
        """Kinds of evidence, and whether it was right, as far as the text went on in the tree.

        Args:
            text: the tokens that followed.
        """
        row, told = 0, []
        for token in text:
            told += [(kind, said == token) for said, kind in self._seen[row]]
            children = zip(range(1, self.size + 1), self._parents, self._tokens, strict=True)
            row = next((child for child, *it in children if it == [row, token]), 0)
            if not row:
                break
        return told
