"""The few numbers that greedy decoding needs of logits, so that a runtime need not transfer logits.

On a device, readings are the three rows of one tensor, so that they come to the host in one copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Readings:
    """Of n rows: the token of the best logit, that logit, and log(sum(exp(logits))); each [n].

    `log_sum` is NaN where any logit of the row is.
    """

    tokens: NDArray[np.int64]
    top: NDArray[np.float32]
    log_sum: NDArray[np.float32]

    @classmethod
    def of(cls, numbers: NDArray[np.floating]) -> "Readings":
        """What `numbers_of` has read, [3, n]."""
        tokens, top, log_sum = numbers
        return cls(tokens.astype(np.int64), top.astype(np.float32), log_sum.astype(np.float32))

    def split(self, sizes: Sequence[int]) -> "list[Readings]":
        """Readings of so many rows each, in order."""
        ends = zip(sizes, accumulate(sizes), strict=True)
        spans = [slice(stop - size, stop) for size, stop in ends]
        return [Readings(self.tokens[s], self.top[s], self.log_sum[s]) for s in spans]

    @property
    def confidence(self) -> NDArray[np.float32]:
        """Probability of the best token."""
        return np.exp(self.top - self.log_sum)


def after_unread(found: Tensor | Readings, rows: int) -> Tensor | Readings:
    """Logits or readings after `count` unread rows: zeros, and NaN."""
    if not rows:
        return found
    if isinstance(found, Tensor):
        return torch.nn.functional.pad(found, (0, 0, rows, 0))
    unknown = np.full(rows, np.nan, np.float32)
    return Readings(
        np.concatenate((np.zeros(rows, np.int64), found.tokens)),
        np.concatenate((unknown, found.top)),
        np.concatenate((unknown, found.log_sum)),
    )


def numbers_of(logits: Tensor) -> Tensor:
    """Logits [n, V] -> [3, n] on their device: tokens (the first of equals), `top`, `log_sum`.

    In fp32 at least, which holds every token id below 2**24 exactly.
    """
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    top, tokens = exact.max(-1)
    return torch.stack((tokens.to(exact.dtype), top, exact.logsumexp(-1)))
