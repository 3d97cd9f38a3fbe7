"""Lookup, earlier texts and tables, kept and grown into trees by the native library.

`decoding/offer.py` has the same rules for any proposers. `native/api.h` is this file's other half.
"""

from collections.abc import Sequence
from ctypes import POINTER, Array, Structure, addressof, byref, c_double, c_int32, c_int64
from ctypes import c_void_p as pointer
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynexit.errors import DynexitError
from dynexit.model.native.binding import Uncopied, library

MOST = 64  # tokens of a tree


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


class Grown(Structure):
    """Of a tree: see `dx_grown`."""

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
    """The library with argument types set; None without a library."""
    loaded = library()
    if loaded is not None:
        read = pointer, pointer, c_int32
        loaded.dx_proposing_new.argtypes = [
            *(c_int32, pointer, POINTER(_Successors), POINTER(pointer)),
        ]
        loaded.dx_proposing_free.argtypes = [pointer]
        loaded.dx_earlier_new.argtypes = [c_int32, POINTER(pointer)]
        loaded.dx_earlier_free.argtypes = [pointer]
        loaded.dx_earlier_add.argtypes, loaded.dx_earlier_add.restype = read, None
        loaded.dx_earlier_find.argtypes = [*read, pointer, pointer, pointer, pointer]
        loaded.dx_imagine.argtypes = [pointer, pointer]
        loaded.dx_propose.argtypes = [*read, POINTER(_Growing), POINTER(Grown)]
        loaded.dx_evidence.argtypes = [*read, POINTER(c_int32), POINTER(c_int32)]
    return loaded


class NativeProposing(Uncopied):
    """Proposers of one text.

    Args:
        lookup: whether what the text holds already is proposed.
        earlier: texts of which what followed is proposed (a `NativeEarlier`); None is none.
        table: successors to propose; None is none.
        ends: tokens that nothing follows.
        kinds: of evidence.
    """

    def __init__(
        self,
        lookup: bool,
        earlier: Any,
        table: Successors | None,
        ends: frozenset[int],
        kinds: int,
    ) -> None:
        self._library, self._handle = functions(), pointer()
        self._table, self._earlier = table, earlier  # which the library reads
        texts = None if earlier is None else earlier.handle
        given = None
        if table is not None:
            held = [each.ctypes.data for each in table]
            given = byref(_Successors(*held, len(table.keys), table.tokens.shape[1]))
        self._check(self._library.dx_proposing_new(int(lookup), texts, given, byref(self._handle)))
        self._ends = (c_int64 * len(ends))(*ends)
        self._how = _Growing(ends=self._ends, num_ends=len(ends))
        self._odds: Sequence[float] | None = None
        self._floors: Sequence[float] | None = None
        self._tokens, self._parents = (c_int64 * MOST)(), (c_int32 * MOST)()
        self._sources = (c_int32 * MOST)()
        self._to = Grown(self._tokens, self._parents, self._sources)
        self._right, self._seen = (c_int32 * kinds)(), (c_int32 * kinds)()
        self._new: Array[Any] = (c_int64 * MOST)()
        self._text, self._read = list[int](), 0
        # as the library is given them: each round asks it once, where Python runs cold
        self._propose, self._given = self._library.dx_propose, addressof(self._new)
        self._growing = byref(self._how), byref(self._to)

    def __del__(self) -> None:
        if self._handle:
            self._library.dx_proposing_free(self._handle)

    def begin(self, tokens: list[int]) -> None:
        """A text begins with its prompt; the list grows with it."""
        text = (c_int64 * len(tokens))(*tokens)
        given = addressof(text), len(tokens)
        self._check(self._library.dx_propose(self._handle, *given, None, None))
        self._text, self._read = tokens, len(tokens)

    @staticmethod
    def _check(result: int) -> None:
        if result:
            raise DynexitError("not enough memory to draft by lookup: generate fewer tokens.")

    def _take(self) -> tuple[int, int]:
        """Address and number of the text's new tokens."""
        new = self._text[self._read :]
        self._read += (count := len(new))
        if count > len(self._new):
            self._new = (c_int64 * count)()
            self._given = addressof(self._new)
        self._new[:count] = new
        return self._given, count

    def grow(self, odds: Sequence[float], floors: Sequence[float], chain: bool) -> Grown:
        """Grow a tree after the text; it is valid until the next call.

        Pass the same list objects while odds and floors are unchanged: they are converted once.
        """
        how = self._how
        if odds is not self._odds:
            self._odds, how.odds = odds, (c_double * len(odds))(*odds)
        if floors is not self._floors:
            self._floors, how.floors = floors, (c_double * len(floors))(*floors)
            how.most = min(len(floors), MOST)
        how.chain = chain
        self._check(self._propose(self._handle, *self._take(), *self._growing))
        return self._to

    def tree(self) -> tuple[list[int], list[int], list[int]]:
        """The last one's tokens, their parents' rows, and whether each was looked up (0), in a
        table (1) or in an earlier text (2).
        """
        n = self._to.nodes
        return self._tokens[:n], self._parents[:n], self._sources[:n]

    def evidence(self) -> tuple[list[int], list[int]]:
        """Of each kind, how often it was right and how often seen since this was last asked."""
        told = self._right, self._seen
        self._check(self._library.dx_evidence(self._handle, *self._take(), *told))
        return self._right[:], self._seen[:]
