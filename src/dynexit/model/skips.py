"""Sets of sublayers that a pass leaves out: attention blocks and MLPs, wherever they are.

The states pass a sublayer that is left out unchanged. Numbers alone, without PyTorch.
"""

from collections.abc import Iterable
from functools import cached_property

ATTENTION, MLP = 1, 2  # bits of a layer's byte; `dx_sublayer` of the native library


class Skips(bytes):
    """One byte for each layer of a model, made of `ATTENTION` and `MLP`. Hashable, never changed.

    Sublayers are also numbered 0, 1, 2, ...: the first layer's attention, its MLP, the second
    layer's attention, and so on.
    """

    @classmethod
    def of(cls, num_layers: int, sublayers: Iterable[int]) -> "Skips":
        """The set of these sublayers of a model of so many layers."""
        marks = bytearray(num_layers)
        for sublayer in sublayers:
            marks[sublayer // 2] |= MLP if sublayer % 2 else ATTENTION
        return cls(marks)

    @cached_property
    def sublayers(self) -> tuple[int, ...]:
        """The sublayers that are left out, ascending."""
        bits = enumerate((ATTENTION, MLP) * len(self))
        return tuple(n for n, bit in bits if self[n // 2] & bit)

    @cached_property
    def whole(self) -> int:
        """Layers before the first that lacks something: their results are the whole model's."""
        return next((layer for layer, mark in enumerate(self) if mark), len(self))

    @cached_property
    def kept_layers(self) -> int:
        """The sublayers that run, counted as layers, rounded up."""
        return (2 * len(self) - len(self.sublayers) + 1) // 2
