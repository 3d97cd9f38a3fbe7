"""A 3-gram model: how likely a token is after two others.

Not responsible for what it is used for (`drafters/diffusion.py`).
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import log

from dynexit.decoding.successors import SuccessorTable

LEAST = 1e-9  # what a table leaves to tokens that it does not list


class Trigrams:
    """Counts of one text, on top of the learned table of the model's own text if there is one.

    Without counts, a chance is the table's for the last two tokens, or else by how often the token
    itself came. Each order of counts then counts what is below it as one occurrence (Bayesian
    smoothing with a Dirichlet prior, MacKay and Peto 1995).
    """

    def __init__(self, table: SuccessorTable | None, vocabulary: int) -> None:
        self._table, self._vocabulary = table, vocabulary
        self._counts: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        self._known = 0

    def learn(self, tokens: Sequence[int]) -> None:
        """Count the text's tokens that are not counted yet; it has only grown."""
        for place in range(self._known, len(tokens)):
            for order in range(min(3, place + 1)):
                self._counts[tuple(tokens[place - order : place])][tokens[place]] += 1
        self._known = len(tokens)

    def log_chances(self, last: tuple[int, ...], tokens: Sequence[int]) -> list[float]:
        """Log-probabilities of tokens after the `last` two, or the only one there is."""
        listed, rest = self._below(last)
        chances = [listed.get(token, rest) for token in tokens]
        for order in range(1, len(last) + 1):
            if seen := self._counts.get(last[-order:]):
                whole = seen.total() + 1
                pairs = zip(tokens, chances, strict=True)
                chances = [(seen[token] + chance) / whole for token, chance in pairs]
        return [log(chance) for chance in chances]

    def _below(self, last: tuple[int, ...]) -> tuple[dict[int, float], float]:
        """Chances of some tokens, and that of each other one."""
        if self._table is not None:
            order, following = self._table.after(last)
            if order:
                listed = dict(following)
                return listed, max(1 - sum(listed.values()), LEAST) / self._vocabulary
        seen = self._counts[()]
        whole = seen.total() + self._vocabulary
        return {token: (count + 1) / whole for token, count in seen.items()}, 1 / whole
