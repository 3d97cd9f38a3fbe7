"""Measures what was learned on held-out greedy texts."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dynexit.decoding.successors import LONGEST, SuccessorTable
from dynexit.learning.journal import Text
from dynexit.learning.learned import Figures

ALL = "all"
FIRST_COVER, COVERS = 512, 5  # most frequent tokens: 512, 1024 ... so many sizes


def judge(table: SuccessorTable, texts: Sequence[Text]) -> dict[str, Figures]:
    """Figures of each family that texts are of, and of all."""
    found = {family: _figures(table, some) for family, some in by_family(texts).items()}
    return {ALL: _figures(table, texts), **found} if found else {}


def by_family(texts: Iterable[Text]) -> dict[str, list[Text]]:
    """The texts of each family, families in the order of their names."""
    found: dict[str, list[Text]] = {}
    for text in texts:
        found.setdefault(text.family, []).append(text)
    return dict(sorted(found.items()))


def _figures(table: SuccessorTable, texts: Iterable[Text]) -> Figures:
    best = best_three = 0
    orders, right = [0] * (LONGEST + 1), [0] * (LONGEST + 1)
    for text in texts:
        for place in range(text.prompt_length, len(text.tokens)):
            order, following = table.after(text.tokens[max(place - LONGEST, 0) : place])
            ranks = [token for token, _ in following[:3]]
            hit = ranks[:1] == [text.tokens[place]]
            best += hit
            best_three += text.tokens[place] in ranks
            orders[order] += 1
            right[order] += hit
    return Figures(sum(orders), best, best_three, tuple(orders), tuple(right))


def frequencies(texts: Iterable[Text]) -> NDArray[np.int64]:
    """Token ids that a model has written, the most frequent first."""
    tokens = np.concatenate([np.array(text.new_tokens, np.int64) for text in texts])
    counts = np.bincount(tokens)
    order = np.argsort(-counts, kind="stable")
    return order[counts[order] > 0]


def coverage(frequent: Sequence[int], texts: Iterable[Text]) -> Mapping[str, float]:
    """Shares of the texts' tokens that are among the most frequent ones, by how many these are."""
    tokens = [token for text in texts for token in text.new_tokens]
    if not tokens:
        return {}
    rank = {token: place for place, token in enumerate(frequent)}
    places = np.array([rank.get(token, len(frequent)) for token in tokens])
    sizes = [FIRST_COVER << doubled for doubled in range(COVERS)]
    return {str(size): round(float((places < size).mean()), 4) for size in sizes}


def coverage_of_families(
    frequent: Sequence[int], texts: Iterable[Text]
) -> Mapping[str, Mapping[str, float]]:
    """`coverage` of each family's texts."""
    return {family: coverage(frequent, some) for family, some in by_family(texts).items()}
