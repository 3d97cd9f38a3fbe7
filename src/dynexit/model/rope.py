"""Rotary position embedding: frequencies per RoPE type and a table that grows with the text."""

import math

import torch
from torch import Tensor

from dynexit.model.config import RopeConfig

TABLE_BLOCK = 512


def inverse_frequencies(rope: RopeConfig, head_dim: int) -> Tensor:
    """Radians per position of every pair of dimensions, fp32 [head_dim / 2].

    Source: RoFormer; linear position interpolation; Llama 3.1's wavelength-dependent scaling.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    frequencies = 1.0 / rope.theta**exponents
    if rope.kind == "linear":
        return frequencies / rope.factor
    if rope.kind == "factors":
        return frequencies / torch.tensor(rope.factors)
    if rope.kind == "llama3":
        return _llama3_frequencies(rope, frequencies)
    return frequencies


def _llama3_frequencies(rope: RopeConfig, frequencies: Tensor) -> Tensor:
    """Long wavelengths are stretched by `factor`, short ones kept, those between interpolated."""
    turns = rope.original_max_positions * frequencies / (2 * math.pi)
    span = rope.high_freq_factor - rope.low_freq_factor
    kept = ((turns - rope.low_freq_factor) / span).clamp(0.0, 1.0)
    return kept * frequencies + (1.0 - kept) * frequencies / rope.factor


class RotaryTable:
    """Cosines and signed sines per position, computed in blocks as positions are first used.

    The sine's first half is negated, so that a rotation is `x * cos + roll(x, head_dim / 2) * sin`.

    Args:
        frequencies: see `inverse_frequencies`; None is what `rope` says.
    """

    def __init__(self, rope: RopeConfig, head_dim: int, frequencies: Tensor | None = None) -> None:
        self._rope, self._head_dim, self._frequencies = rope, head_dim, frequencies
        empty = torch.empty(0, 1, head_dim)
        self._tables = empty, empty  # replaced as one, so that threads may share this object

    def between(self, start: int, stop: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """(cos, sin) of positions [start, stop), each [T, 1, head_dim] in `like`'s dtype."""
        cos, sin = self.up_to(stop, like)
        return cos[start:stop], sin[start:stop]

    def up_to(self, stop: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """The same from position 0 to `stop` or beyond, without a copy."""
        tables = self._tables
        stale = tables[0].dtype != like.dtype or tables[0].device != like.device
        if stale or stop > len(tables[0]):
            tables = self._tables = self._computed(max(stop, len(tables[0])), like)
        return tables

    def _computed(self, stop: int, like: Tensor) -> tuple[Tensor, Tensor]:
        size = -(-stop // TABLE_BLOCK) * TABLE_BLOCK
        exact = torch.float64 if like.dtype == torch.float64 else torch.float32
        positions = torch.arange(size, dtype=exact)
        frequencies = self._frequencies
        if frequencies is None:
            frequencies = inverse_frequencies(self._rope, self._head_dim)
        angles = torch.outer(positions, frequencies.to(exact))
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((cos, cos), -1)[:, None].to(like), torch.cat((-sin, sin), -1)[:, None].to(
            like
        )
