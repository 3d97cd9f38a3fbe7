"""Average next-token probabilities after contexts of one, two and three tokens, and the table of
those that are worth their bytes.

A context's average counts every place where it stood once, and the shorter context's average
`BELIEF` times: what stood there once or twice says little.

Not responsible for what a table is read by: `decoding/successors.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynexit.decoding.successors import LONGEST, SuccessorTable, context_keys, to_bytes
from dynexit.learning.journal import Text

WIDTH = 3  # successors of a context
BELIEF = 3.0  # places that the shorter context's average counts for
UNKNOWN = 0.01  # probability of a token that a context says nothing of
TINY = 1e-3  # of all tokens together that it says nothing of, at least
TOKEN_BITS = 25
TOKEN_MASK = (1 << TOKEN_BITS) - 1


@dataclass(frozen=True)
class Places:
    """All positions of some texts.

    Attributes:
        tails: [n, 3], the last tokens up to there, the newest last; where a text is shorter, its
            first ones repeat.
        lengths: [n], how many of them there are.
        likely, chances: [n, m], what the model thought likely there.
    """

    tails: NDArray[np.uint32]
    lengths: NDArray[np.int64]
    likely: NDArray[np.uint32]
    chances: NDArray[np.float32]


@dataclass(frozen=True)
class Averages:
    """Contexts of one order, with their likeliest successors.

    Attributes:
        contexts: [n, order].
        counts: [n], places.
        tokens, chances: [n, k], the likeliest first.
        shorter: [n], the row of each context without its first token, in the averages before.
    """

    contexts: NDArray[np.uint32]
    counts: NDArray[np.int64]
    tokens: NDArray[np.uint32]
    chances: NDArray[np.float64]
    shorter: NDArray[np.int64]


def places_of(texts: Sequence[Text]) -> Places:
    """The positions of texts at which something was read."""
    parts = list(zip(*map(_places, texts), strict=True))
    tails, lengths, likely, chances = (np.concatenate(part) for part in parts)
    return Places(tails, lengths, likely, chances.astype(np.float32))


def _places(text: Text) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[Any], NDArray[Any]]:
    likely, chances = text.read
    tokens = np.array(text.tokens, np.uint32)
    stand = np.arange(text.first, text.first + len(likely))
    tails = tokens[np.maximum(stand[:, None] + np.arange(1 - LONGEST, 1), 0)]
    return tails, np.minimum(stand + 1, LONGEST), likely, chances


def average(places: Places, width: int) -> list[Averages]:
    """Averages of orders 0 to 3, `width` successors each; order 0 has one, of all places."""
    found: list[Averages] = []
    rows = np.zeros(len(places.tails), np.int64)  # of each place, in the averages before
    for order in range(LONGEST + 1):
        there = places.lengths >= order
        oldest = places.tails[there, LONGEST - order].astype(np.int64) if order else 0
        named, first, which, counts = np.unique(
            rows[there] << TOKEN_BITS | oldest,
            *(True, True, True),  # where each stands first, which one each place has, how often
        )
        pairs = [_summed(which, places.likely[there], places.chances[there])]
        shorter = named >> TOKEN_BITS
        if found:
            every, before = np.arange(len(named)), found[-1]
            chances = BELIEF * before.chances[shorter]
            pairs.append(_summed(every, before.tokens[shorter], chances))
        tokens, sums = _best(pairs, len(named), width)
        chances = sums / (counts + (BELIEF if found else 0))[:, None]
        contexts = places.tails[there][first][:, LONGEST - order :]
        found.append(Averages(contexts, counts, tokens, chances, shorter))
        rows[there] = which
    return found


Pairs = tuple[NDArray[np.int64], NDArray[np.float64]]  # a context with a token, and a sum


def _summed(which: NDArray[np.int64], likely: NDArray[Any], chances: NDArray[Any]) -> Pairs:
    """Probabilities [n, m] of tokens by context: pairs in order, and the sum of each."""
    keys = (which[:, None] << TOKEN_BITS | likely).ravel()
    some = chances.ravel() > 0
    return _reduced(keys[some], chances.ravel()[some].astype(np.float64))


def _reduced(keys: NDArray[np.int64], values: NDArray[np.float64]) -> Pairs:
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.add.reduceat(values, starts)


def _best(
    pairs: list[Pairs], contexts: int, width: int
) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """The tokens of the largest sums of each context, [n, width] each; 0 where there are fewer."""
    keys, sums = _reduced(*(np.concatenate(part) for part in zip(*pairs, strict=True)))
    which = keys >> TOKEN_BITS
    order = np.lexsort((-sums, which))
    which, keys, sums = which[order], keys[order], sums[order]
    starts = np.searchsorted(which, np.arange(contexts))
    rank = np.arange(len(which)) - starts[which]
    kept = rank < width
    tokens, best = np.zeros((contexts, width), np.uint32), np.zeros((contexts, width))
    tokens[which[kept], rank[kept]] = keys[kept] & TOKEN_MASK
    best[which[kept], rank[kept]] = sums[kept]
    return tokens, best


def worth(averages: Sequence[Averages]) -> list[NDArray[np.float64]]:
    """What each context of orders 1 to 3 brings, in nats: by how much less surprising the model's
    text is than by the shorter context that would stand in (relative-entropy pruning, Stolcke
    1998).

    Counting hits instead would leave out contexts that predict the same token with a higher
    probability, which drafting also uses.
    """
    found = []
    for before, level in pairwise(averages):
        same = level.tokens[:, :, None] == before.tokens[level.shorter, None]
        theirs = (same * before.chances[level.shorter, None]).sum(2)
        instead = np.maximum(theirs, UNKNOWN)
        told = level.chances, 1 - level.chances.sum(1, keepdims=True)
        others = instead, 1 - instead.sum(1, keepdims=True)
        gain = sum(
            (p * np.log(np.maximum(p, TINY) / np.maximum(q, TINY))).sum(1)
            for p, q in zip(told, others, strict=True)
        )
        found.append(level.counts * gain)
    return found


def table_of(averages: Sequence[Averages], size: int, vocabulary: int) -> SuccessorTable:
    """The table of at most `size` bytes whose contexts bring most."""
    kind: type = np.uint16 if vocabulary <= 2**16 else np.uint32
    width = averages[0].tokens.shape[1]
    row = 4 + width * (np.dtype(kind).itemsize + 1)
    keys = np.concatenate([context_keys(level.contexts) for level in averages[1:]])
    tokens = np.concatenate([level.tokens for level in averages[1:]])
    chances = to_bytes(np.concatenate([level.chances for level in averages[1:]]))
    value = np.concatenate(worth(averages))
    value[chances[:, 0] == 0] = 0
    order = np.argsort(-value, kind="stable")[: size // row]
    order = order[value[order] > 0]
    keys, first = np.unique(keys[order], return_index=True)  # of those that share a key, the best
    chosen = order[first]
    return SuccessorTable(keys, tokens[chosen].astype(kind), chances[chosen])
