"""Drafts that the native library imagines. `native/imagining.h` is the other half."""

from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_double, c_int32
from itertools import chain

from dynexit.errors import DynexitError
from dynexit.model.drafting_rule import Pricing
from dynexit.model.native.proposing import functions


class Drawn:
    """Confidences of drafts to imagine, as shares of those seen: as many `rows` as drafts."""

    def __init__(self, rows: list[list[float]]) -> None:
        self.rows = rows
        self.numbers = (c_double * (len(rows) * len(rows[0])))(*chain(*rows))


class _Imagining(Structure):
    """`dx_imagining`."""

    _fields_ = [
        *((name, POINTER(c_double)) for name in ("odds", "ends", "rows", "levels", "drawn")),
        *((name, c_int32) for name in ("ranks", "parts", "num_rows", "num_levels")),
        *(("drafts", c_int32), ("draws", c_int32)),
    ]


class _Imagined(Structure):
    """`dx_imagined`."""

    _fields_ = [("tokens", c_double), ("accepted", c_double), ("levels", c_double)]


def imagine(
    pricing: Pricing, ends: Sequence[float], drawn: Drawn
) -> tuple[float, float, float] | None:
    """Tokens, accepted tokens and levels of all drafts together; None without the library."""
    library = functions()
    if library is None:
        return None
    odds, rows, levels = (*chain(*pricing.odds),), pricing.rows, pricing.levels
    how = _Imagining(
        *((c_double * len(each))(*each) for each in (odds, ends, rows, levels)),
        drawn.numbers,
        *(len(pricing.odds), len(ends), len(rows), len(levels)),
        *(len(drawn.rows), len(drawn.rows[0])),
    )
    to = _Imagined()
    if library.dx_imagine(byref(how), byref(to)):
        raise DynexitError("not enough memory to plan a draft: generate fewer tokens.")
    return to.tokens, to.accepted, to.levels
