"""Proposes what the model itself thought likely after the last tokens, in text that it wrote to be
learned from (`dynexit learn`).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from dynexit.decoding.proposers import Candidate, Proposer
from dynexit.decoding.successors import LONGEST, SuccessorTable

PARTS = 10  # of 0 to 1, by which probabilities are told apart


class Table(Proposer):
    """Tokens by their learned probability, and by how many tokens of context it was learned for."""

    source = "table"
    priors = tuple((part + 0.5) / PARTS for part in range(PARTS)) * LONGEST

    def __init__(self, table: SuccessorTable) -> None:
        self._after = table.after
        self._made: dict[Any, tuple[Candidate, ...]] = {}  # of what it has said

    def after(self, path: Sequence[int], place: Any) -> Iterable[Candidate]:
        """The successors of the longest known context."""
        said = self._after(path)
        if said not in self._made:
            order, following = said
            first = (order - 1) * PARTS
            self._made[said] = tuple(
                Candidate(token, first + min(int(chance * PARTS), PARTS - 1))
                for token, chance in following
            )
        return self._made[said]


PROPOSERS = {"table": lambda facts: None if facts.table is None else Table(facts.table)}
