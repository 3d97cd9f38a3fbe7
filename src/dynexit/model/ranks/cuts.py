"""Which part of each weight a process holds.

Matrices that read hidden states (Q, K, V, gate, up) are cut by rows, those that write them by
columns (Shoeybi et al., arXiv 1909.08053), embedding and head by tokens. Heads are never cut.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.weights import Part

BY_COLUMNS = ("out", "down")
BY_ROWS = ("qkv", "gate_up", "embedding", "head")


def check_division(config: ModelConfig, size: int) -> None:
    """Raises DynexitError where so many processes cannot have equally many heads."""
    if config.num_kv_heads % size:
        able = [str(n) for n in range(1, config.num_kv_heads + 1) if config.num_kv_heads % n == 0]
        raise DynexitError(
            f"{size} processes cannot share {config.num_heads} heads over {config.num_kv_heads} "
            f"key/value heads evenly: start {' or '.join(able)}."
        )


@dataclass(frozen=True)
class Cut:
    """One process's part of a model."""

    config: ModelConfig  # of the whole
    rank: int
    size: int

    def range(self, count: int) -> tuple[int, int]:
        """Its part of so many rows, columns or tokens: first, and after the last."""
        return count * self.rank // self.size, count * (self.rank + 1) // self.size

    def length(self, count: int) -> int:
        """How many these are."""
        first, end = self.range(count)
        return end - first

    @property
    def shape(self) -> ModelConfig:
        """A model with this part of the heads, of the MLPs and of the vocabulary."""
        return replace(
            self.config,
            vocab_size=self.length(self.config.vocab_size),
            num_heads=self.config.num_heads // self.size,
            num_kv_heads=self.config.num_kv_heads // self.size,
            intermediate_size=self.length(self.config.intermediate_size),
        )

    def fill(self, parameter: torch.Tensor, name: str, part: Part, stored: Any) -> None:
        """Fill a parameter, called `name`, with this process's part of a stored tensor. No more of
        the tensor is read.

        Args:
            part: which of the whole parameter's rows the tensor has.
            stored: a slice of a safetensors file.
        """
        module = name.rsplit(".", 2)[-2]
        if module in BY_ROWS:
            first, end = self.range(part.stop - part.start)
            start = self.length(part.start)
            parameter[start : start + end - first].copy_(stored[first:end])
        elif module not in BY_COLUMNS:
            parameter.copy_(stored[:])
        elif part.inputs is not None:
            first, end = self.range(part.inputs)
            parameter.copy_(stored[:, first:end])
        elif self.rank:  # rank 0 adds the bias
            parameter.zero_()
        else:
            parameter.copy_(stored[:])
