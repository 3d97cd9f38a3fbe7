"""Proposes the tokens that the model found likely after the last tokens in the text that it wrote
for `dynexit learn`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from dynexit.decoding.proposers import Candidate, Proposer
from dynexit.decoding.successors import LONGEST, SuccessorTable

PARTS = 10  # of 0 to 1, by which probabilities are told apart


class Table(Proposer):
    """Tokens by their learned probability, and by the length of its context."""

    source = "table"
    priors = tuple((part + 0.5) / PARTS for part in range(PARTS)) * LONGEST

    def __init__(self, table: SuccessorTable) -> None:
        self._after = table.after

    def after(self, path: Sequence[int], place: Any) -> Iterable[Candidate]:
        """The successors of the longest known context."""
        order, following = self._after(path)
        first = (order - 1) * PARTS
        return [
            (token, first + min(int(chance * PARTS), PARTS - 1), None)
            for token, chance in following
        ]


PROPOSERS = {"table": lambda facts: None if facts.table is None else Table(facts.table)}
