"""Rows that look back at committed positions without changing what is kept there."""

from collections.abc import Sequence

from dynexit.model.interface import Cache, Span


def beside(cache: Cache, position: int, parents: Sequence[int]) -> Span:
    """Rows that stand at committed positions, from `position` (1 or more) on, and keep their keys
    and values past the committed ones.

    A span's rows 0 and 1 are the committed tokens before `position` and there, so that no row of
    the pass is at home. Its first row is row 2; `parents` are of rows 2, 3, ...
    """
    return Span(cache, position - 1, len(parents), [0, *parents], cache.length, first=2)
