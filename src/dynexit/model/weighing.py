"""Bytes of a checkpoint's weights, and how its model reads and multiplies them."""

from collections.abc import Callable

import torch
from torch import Tensor

from dynexit.model.interface import Configured
from dynexit.model.parts import ByParts

PAGE = 4096  # bytes that memory comes in


class Weighed(ByParts):
    """See `interface.Configured`: weights in PyTorch's own products, all of one dtype."""

    @property
    def layer_bytes(self: Configured) -> int:
        """See `interface.Configured`."""
        return self.config.num_layers * self.config.layer_parameters * self.dtype.itemsize

    @property
    def head_bytes(self: Configured) -> int:
        """See `interface.Configured`."""
        return self.config.vocab_size * self.config.hidden_size * self.dtype.itemsize

    @property
    def embedding_bytes(self: Configured) -> int:
        """See `interface.Configured`."""
        return 0 if self.config.tie_embeddings else self.head_bytes

    @property
    def multiplied(self: Configured) -> torch.dtype:
        """See `interface.Configured`."""
        return self.dtype

    def readers(self: Configured, memory: Tensor) -> list[Callable[[], object]]:
        """See `interface.Configured`."""
        matrix = memory.view(-1, PAGE // 4)
        row = torch.ones(matrix.shape[1], device=memory.device)
        return [memory.sum, memory.amax, lambda: matrix @ row]
