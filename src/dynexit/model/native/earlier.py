"""Texts that were written before, kept by the library for drafts. `native/earlier.h` says how."""

from collections.abc import Sequence
from ctypes import byref, c_int32, c_int64, c_void_p
from typing import NamedTuple

from dynexit.errors import DynexitError
from dynexit.model.native.binding import Uncopied
from dynexit.model.native.proposing import functions

MOST = 4  # tokens that are told


class Following(NamedTuple):
    """What followed the longest match of some tokens: `length` of them, at `total` places; and how
    often each token did, the most frequent first.
    """

    tokens: list[int]
    counts: list[int]
    total: int
    length: int


class NativeEarlier(Uncopied):
    """The newest 2^bits tokens of texts, for any thread."""

    def __init__(self, bits: int) -> None:
        self._library, self.handle = functions(), c_void_p()
        if self._library.dx_earlier_new(bits, byref(self.handle)):
            raise DynexitError(f"there is not enough memory for {2**bits} tokens of earlier texts.")

    def __del__(self) -> None:
        if self.handle:
            self._library.dx_earlier_free(self.handle)

    def add(self, tokens: Sequence[int]) -> None:
        """Take over a text."""
        self._library.dx_earlier_add(self.handle, (c_int64 * len(tokens))(*tokens), len(tokens))

    def find(self, tokens: Sequence[int]) -> Following:
        """What followed the last of `tokens`, of which three at least must match."""
        following, counts = (c_int64 * MOST)(), (c_int32 * MOST)()
        total, length = c_int32(), c_int32()
        count = self._library.dx_earlier_find(
            *(self.handle, (c_int64 * len(tokens))(*tokens), len(tokens)),
            *(following, counts, byref(total), byref(length)),
        )
        return Following(following[:count], counts[:count], total.value, length.value)
