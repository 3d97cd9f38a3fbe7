"""The inputs of a forward pass from its sequences, besides their hidden states."""

from collections.abc import Sequence
from ctypes import c_int32
from typing import NamedTuple, cast

from torch import Tensor

from dynexit.model.interface import Span
from dynexit.model.native.binding import NativeAngles, NativeSpan
from dynexit.model.native.cache import NativeCache
from dynexit.model.windows import ALL


class Angles(NamedTuple):
    """Addresses of the positions' cosines and sines; the caller must keep the tables alive."""

    at: NativeAngles
    tables: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, cos: Tensor, sin: Tensor) -> "Angles":
        """Tables [T, 1, head_dim] of positions from 0 on."""
        return cls(NativeAngles(cos.data_ptr(), sin.data_ptr(), len(cos)), (cos, sin))


class NativeRows:
    """The spans of a pass as the library reads them, and angles up to their end."""

    def __init__(self, spans: Sequence[Span], angles: Angles) -> None:
        self._alive = tuple(spans)  # their caches must outlive this pass
        self.angles = angles
        self.count = sum(span.length for span in spans)
        self.spans = (NativeSpan * len(spans))(
            *(
                NativeSpan(
                    *(cast(NativeCache, s.cache).handle, s.start, s.first, s.length, s.slot),
                    None if s.parents is None else (c_int32 * len(s.parents))(*s.parents),
                    *(s.window or ALL),
                )
                for s in spans
            )
        )
