"""What greedy decoding reads off logits, so that a runtime need not write them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Readings:
    """Of n rows: the token of the best logit, that logit, and log(sum(exp(logits))); each [n].

    `log_sum` is NaN where any logit of the row is.
    """

    tokens: NDArray[np.int64]
    top: NDArray[np.float32]
    log_sum: NDArray[np.float32]

    def split(self, sizes: Sequence[int]) -> "list[Readings]":
        """Readings of so many rows each, in order."""
        ends = zip(sizes, accumulate(sizes), strict=True)
        spans = [slice(stop - size, stop) for size, stop in ends]
        return [Readings(self.tokens[s], self.top[s], self.log_sum[s]) for s in spans]

    @property
    def confidence(self) -> NDArray[np.float32]:
        """Probability of the best token."""
        return np.exp(self.top - self.log_sum)
