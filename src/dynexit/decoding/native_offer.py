"""Offers of lookup, earlier texts and a table, grown by the library in a fraction of the time.

Python runs cold between two passes: a tree takes a hundred microseconds there, twenty here.
"""

from collections.abc import Sequence

from dynexit.decoding.facts import Facts
from dynexit.decoding.offer import drafted
from dynexit.decoding.proposers.earlier import Earlier
from dynexit.decoding.proposers.lookup import Lookup
from dynexit.decoding.proposers.table import Table
from dynexit.decoding.records import Draft, Evidence, Source
from dynexit.decoding.successors import SuccessorTable
from dynexit.model.native.earlier import NativeEarlier
from dynexit.model.native.proposing import NativeProposing, Successors, functions

ORDER = "lookup", "earlier", "table"  # in which the library asks them
SOURCES: tuple[Source, ...] = ("lookup", "table", "earlier")  # by its numbers


class NativePanel:
    """As `offer.Panel`."""

    def __init__(
        self,
        lookup: bool,
        earlier: NativeEarlier | None,
        table: SuccessorTable | None,
        ends: frozenset[int],
    ) -> None:
        arrays = None
        if table is not None:
            arrays = Successors(table.keys, table.wide_tokens, table.chances)
        asked = ((Lookup, lookup), (Earlier, earlier is not None), (Table, table is not None))
        self.priors = tuple(proposer.priors for proposer, there in asked if there)
        kinds = sum(map(len, self.priors))
        self._proposing = NativeProposing(lookup, earlier, arrays, ends, kinds)
        self.size = self.depth = 0

    @classmethod
    def of(cls, names: Sequence[str], facts: Facts, ends: frozenset[int]) -> "NativePanel | None":
        """Of the proposers of these names; None where there is no library, or it lacks one."""
        if functions() is None or list(names) != [name for name in ORDER if name in names]:
            return None
        earlier = facts.earlier if "earlier" in names else None
        return cls("lookup" in names, earlier, facts.table if "table" in names else None, ends)

    def begin(self, tokens: list[int]) -> None:
        """See `offer.Panel`."""
        self._proposing.begin(tokens)

    def offer(self, chain: bool) -> "NativePanel":
        """See `offer.Panel`."""
        self._chain = chain
        return self

    def grow(self, odds: Sequence[float], floors: Sequence[float]) -> float:
        """See `records.Offer`."""
        grown = self._proposing.grow(odds, floors, self._chain)
        self.size, self.depth = grown.nodes, grown.depth
        return float(grown.expected)

    def draft(self, depth: int) -> Draft:
        """See `records.Offer`."""
        tokens, parents, sources = self._proposing.tree()
        return drafted(tokens, parents, [SOURCES[each] for each in sources], depth)

    def evidence(self) -> Evidence:
        """See `records.Offer`."""
        return Evidence(*self._proposing.evidence())
