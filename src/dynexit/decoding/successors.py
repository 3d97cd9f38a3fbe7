"""Likely next tokens after contexts of three, two and one tokens, learned of a model's own text.

Not responsible for how they are learned (`learning/`), nor for what is drafted by them.

A context is stored as 32 bits of its hash: one that was never learned is taken for one that was in
n of 4,294,967,296 cases, n being the table's contexts, and costs a draft that is not accepted.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynexit.errors import DynexitError

LONGEST = 3  # tokens of a context
MOST = 2**25  # tokens of a vocabulary
FULL = 255  # what a probability of 1 is stored as

Found = tuple[int, tuple[tuple[int, float], ...]]
NONE: Found = (0, ())

# Random odd numbers: multiplicative hashing (Knuth 1973, 6.4) of the last token, the one before it
# and the one before that; then one that tells the orders apart.
_LAST, _SECOND, _THIRD = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0x8CB92BA72F3D8DD7
_ORDER = 0xA24BAED4963EE407
_WORD = 2**64 - 1


def context_keys(contexts: NDArray[Any]) -> NDArray[np.uint32]:
    """The keys [n] of contexts [n, order], each in the order of the text."""
    order = contexts.shape[1]
    words = np.full(len(contexts), order * _ORDER & _WORD, np.uint64)
    for place, factor in zip(range(order - 1, -1, -1), (_LAST, _SECOND, _THIRD), strict=False):
        words += contexts[:, place].astype(np.uint64) * np.uint64(factor)
    return (words >> np.uint64(32)).astype(np.uint32)


class SuccessorTable:
    """Contexts, and the tokens that are likely to follow each of them.

    Args:
        keys: [n] uint32, ascending: `context_keys` of the contexts.
        tokens: [n, k] uint16 or uint32, the likeliest first.
        chances: [n, k] uint8: their probabilities times 255, rounded; 0 where a context has fewer
            than k successors.

    Raises:
        DynexitError: arrays of other shapes or types, keys or chances out of order.
    """

    def __init__(
        self, keys: NDArray[np.uint32], tokens: NDArray[Any], chances: NDArray[np.uint8]
    ) -> None:
        _check(keys, tokens, chances)
        self.keys, self.tokens, self.chances = keys, tokens, chances

    @cached_property
    def _found(self) -> dict[int, Any]:
        """A context's row by its key, or once it was asked for, what is found there.

        Made when it is first needed: the library reads the arrays themselves.
        """
        return dict(zip(self.keys.tolist(), range(len(self.keys)), strict=True))

    @classmethod
    def of(
        cls, contexts: Mapping[tuple[int, ...], Sequence[tuple[int, float]]]
    ) -> "SuccessorTable":
        """A table of a few contexts, each with its successors, the likeliest first."""
        width = max((len(following) for following in contexts.values()), default=1)
        tokens = np.zeros((len(contexts), width), np.uint32)
        chances = np.zeros((len(contexts), width))
        for row, following in enumerate(contexts.values()):
            for place, (token, chance) in enumerate(following):
                tokens[row, place], chances[row, place] = token, chance
        keys = [context_keys(np.array([context])) for context in contexts]
        joined = np.concatenate([np.empty(0, np.uint32), *keys])
        order = np.argsort(joined)
        return cls(joined[order], tokens[order], to_bytes(chances[order]))

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def wide_tokens(self) -> NDArray[np.uint32]:
        """`tokens` as the native library reads them, made once for all texts."""
        return self.tokens.astype(np.uint32, copy=False)

    @property
    def num_bytes(self) -> int:
        """Bytes of its arrays, as they are in a file."""
        return self.keys.nbytes + self.tokens.nbytes + self.chances.nbytes

    def after(self, tail: Sequence[int]) -> Found:
        """What is likely to follow a text, by the longest known context that it ends in.

        Args:
            tail: the text's last tokens, of which three at most are read; any numbers.

        Returns:
            How many tokens this context has (0: none is known), and pairs of a token and its
            probability, the likeliest first.
        """
        found, length = self._found, len(tail)
        if not length:
            return NONE
        word = tail[-1] * _LAST
        keys = [(word + _ORDER & _WORD) >> 32]
        if length > 1:
            word += tail[-2] * _SECOND
            keys.append((word + 2 * _ORDER & _WORD) >> 32)
            if length > 2:
                word += tail[-3] * _THIRD
                keys.append((word + 3 * _ORDER & _WORD) >> 32)
        while keys:
            key = keys.pop()
            if (row := found.get(key)) is not None:
                return row if type(row) is tuple else self._read(key, len(keys) + 1)
        return NONE

    def _read(self, key: int, order: int) -> Found:
        """What the arrays say of a context, and from now on its entry."""
        row = self._found[key]
        pairs = zip(self.tokens[row].tolist(), self.chances[row].tolist(), strict=True)
        said = (order, tuple((token, chance / FULL) for token, chance in pairs if chance))
        self._found[key] = said
        return said


def to_bytes(chances: NDArray[Any]) -> NDArray[np.uint8]:
    """Probabilities as a table stores them: 0 only where nothing is."""
    stored = np.rint(chances * FULL).clip(0, FULL)
    return np.where(chances > 0, np.maximum(stored, 1), 0).astype(np.uint8)


def _check(keys: NDArray[Any], tokens: NDArray[Any], chances: NDArray[Any]) -> None:
    if keys.ndim != 1 or tokens.ndim != 2 or not len(keys) == len(tokens) == len(chances):
        raise DynexitError("a successor table must have the shapes [n], [n, k] and [n, k].")
    if tokens.shape != chances.shape or not tokens.shape[1]:
        raise DynexitError("a successor table must have as many probabilities as tokens.")
    types = keys.dtype == np.uint32 and chances.dtype == np.uint8
    if not types or tokens.dtype not in (np.uint16, np.uint32):
        raise DynexitError("a successor table holds numbers of the wrong types.")
    if not (keys[1:] > keys[:-1]).all():
        raise DynexitError("the contexts of a successor table are not in order.")
    if not chances[:, 0].all() or not (chances[:, 1:] <= chances[:, :-1]).all():
        raise DynexitError("the probabilities of a successor table are not in order.")
