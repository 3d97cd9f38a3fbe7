"""What is known of a text without a pass, kept and grown into trees by the library: numbers alone.

`decoding/offer.py` has the same rules for any proposers. `native/api.h` is this file's other half.
"""

from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_double, c_int32, c_int64
from ctypes import c_void_p as pointer
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynexit.errors import DynexitError
from dynexit.model.native.binding import Uncopied, library

MOST = 64  # tokens of a tree
EVIDENCE = 1_024  # judged of one round at most


class _Successors(Structure):
    _fields_ = [
        ("keys", pointer),
        ("tokens", pointer),
        ("chances", pointer),
        ("contexts", c_int64),
        ("width", c_int32),
    ]


class _Growing(Structure):
    _fields_ = [
        ("odds", POINTER(c_double)),
        ("floors", POINTER(c_double)),
        ("ends", POINTER(c_int64)),
        ("most", c_int32),
        ("num_ends", c_int32),
        ("chain", c_int32),
    ]


class _Grown(Structure):
    _fields_ = [
        ("tokens", POINTER(c_int64)),
        ("parents", POINTER(c_int32)),
        ("sources", POINTER(c_int32)),
        ("expected", c_double),
        ("nodes", c_int32),
        ("depth", c_int32),
    ]


class Successors(NamedTuple):
    """A table's arrays: see `dx_successors`."""

    keys: NDArray[np.uint32]
    tokens: NDArray[np.uint32]
    chances: NDArray[np.uint8]


@cache
def functions() -> Any:
    """The library, whose functions know what they take; None where there is none."""
    loaded = library()
    if loaded is not None:
        arrays = POINTER(c_int64), c_int32
        loaded.dx_proposing_new.argtypes = [c_int32, POINTER(_Successors), POINTER(pointer)]
        loaded.dx_proposing_free.argtypes = [pointer]
        loaded.dx_propose.argtypes = [pointer, *arrays, POINTER(_Growing), POINTER(_Grown)]
        loaded.dx_judge.argtypes = [pointer, *arrays, c_int32, POINTER(c_int32)]
    return loaded


class NativeProposing(Uncopied):
    """Of one text.

    Args:
        lookup: whether what the text holds already is proposed.
        table: successors to propose; None is none.
        ends: tokens that nothing follows.

    Attributes:
        size, depth: of the last tree: its tokens, and those of its longest path.
    """

    def __init__(self, lookup: bool, table: Successors | None, ends: frozenset[int]) -> None:
        self._library, self._handle, self._table = functions(), pointer(), table
        given = None
        if table is not None:
            held = [each.ctypes.data for each in table]
            given = byref(_Successors(*held, len(table.keys), table.tokens.shape[1]))
        self._check(self._library.dx_proposing_new(int(lookup), given, byref(self._handle)))
        self._ends = (c_int64 * len(ends))(*ends)
        self._how = _Growing()
        self._odds: Sequence[float] | None = None
        self._floors: Sequence[float] | None = None
        self._how.ends, self._how.num_ends = self._ends, len(ends)
        self._tokens, self._parents = (c_int64 * MOST)(), (c_int32 * MOST)()
        self._sources = (c_int32 * MOST)()
        self._kinds, self._text = (c_int32 * EVIDENCE)(), (c_int64 * (MOST + 1))()
        self._to = _Grown(self._tokens, self._parents, self._sources)

    def __del__(self) -> None:
        if self._handle:
            self._library.dx_proposing_free(self._handle)

    @staticmethod
    def _check(result: int) -> None:
        if result:
            raise DynexitError("no memory left for what a text proposes: generate fewer tokens.")

    def read(self, tokens: Sequence[int]) -> None:
        """Tokens that the text has gained."""
        self._check(self._library.dx_propose(self._handle, *self._given(tokens), None, None))

    def _given(self, tokens: Sequence[int]) -> tuple[Any, int]:
        """Tokens as the library reads them; a round's go where those of the last were."""
        count = len(tokens)
        if count > len(self._text):
            return (c_int64 * count)(*tokens), count
        self._text[:count] = [*tokens]
        return self._text, count

    def grow(self, odds: Sequence[float], floors: Sequence[float], chain: bool) -> float:
        """A tree after the text: how many of its tokens are expected to be accepted.

        The same lists come again until more is learned.
        """
        if odds is not self._odds:
            self._odds, self._how.odds = odds, (c_double * len(odds))(*odds)
        if floors is not self._floors:
            self._floors, self._how.floors = floors, (c_double * len(floors))(*floors)
            self._how.most = min(len(floors), MOST)
        self._how.chain = chain
        given = self._handle, None, 0, byref(self._how), byref(self._to)
        self._check(self._library.dx_propose(*given))
        return float(self._to.expected)

    @property
    def size(self) -> int:
        """Tokens of the last tree."""
        return int(self._to.nodes)

    @property
    def depth(self) -> int:
        """Tokens of its longest path."""
        return int(self._to.depth)

    def tree(self) -> tuple[list[int], list[int], list[int]]:
        """Its tokens, their parents' rows, and whether each was looked up (0) or in a table (1)."""
        n = self._to.nodes
        return self._tokens[:n], self._parents[:n], self._sources[:n]

    def judge(self, text: Sequence[int]) -> list[int]:
        """Kinds of evidence that was right, and complements of those that was wrong, as far as the
        text went on in the tree.
        """
        given = *self._given(text), EVIDENCE, self._kinds
        return self._kinds[: self._library.dx_judge(self._handle, *given)]
