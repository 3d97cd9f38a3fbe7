"""Offers of lookup and of a table, grown by the library in a fraction of the time.

Python runs cold between two passes: a tree takes a hundred microseconds there, twenty here.
"""

from collections.abc import Sequence

from dynexit.decoding.offer import drafted
from dynexit.decoding.proposers.lookup import Lookup
from dynexit.decoding.proposers.table import Table
from dynexit.decoding.records import Draft, Evidence, Source
from dynexit.decoding.successors import SuccessorTable
from dynexit.model.native.proposing import NativeProposing, Successors, functions

SOURCES: tuple[Source, Source] = ("lookup", "table")


class NativePanel:
    """As `offer.Panel`."""

    def __init__(self, lookup: bool, table: SuccessorTable | None, ends: frozenset[int]) -> None:
        arrays = None
        if table is not None:
            arrays = Successors(table.keys, table.wide_tokens, table.chances)
        self.priors = (Lookup.priors,) * lookup + (Table.priors,) * (table is not None)
        kinds = sum(map(len, self.priors))
        self._proposing = NativeProposing(lookup, arrays, ends, kinds)
        self.size = self.depth = 0

    @classmethod
    def of(
        cls, names: Sequence[str], table: SuccessorTable | None, ends: frozenset[int]
    ) -> "NativePanel | None":
        """Of the proposers of these names; None where there is no library, or it lacks one."""
        known = [name for name in SOURCES if name in names]
        if functions() is None or list(names) != known:
            return None
        return cls("lookup" in names, table if "table" in names else None, ends)

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
