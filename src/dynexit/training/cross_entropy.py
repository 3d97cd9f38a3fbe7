"""Cross entropy over a large vocabulary in few passes over memory.

The gradient, softmax minus reference, is made in the forward pass from the softmax itself, so that
no log-softmax is kept or read again for every exit.
"""

from typing import Any

import torch
from torch import Tensor


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, reference: Tensor) -> Tensor:
        probabilities = logits.softmax(-1)
        top, top_probability = logits.amax(-1), probabilities.amax(-1)
        normaliser = top - top_probability.log()  # log-sum-exp, from the most likely token
        if reference.ndim == 1:
            index = reference[:, None]
            expected = logits.gather(1, index)[:, 0]
            probabilities.scatter_add_(1, index, -torch.ones_like(index, dtype=logits.dtype))
        else:
            expected = torch.linalg.vecdot(logits, reference)
            probabilities.sub_(reference)
        ctx.save_for_backward(probabilities)
        return (normaliser - expected).mean()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        return difference * (grads[0] / difference.shape[0]), None


def cross_entropy(logits: Tensor, reference: Tensor) -> Tensor:
    """Mean cross entropy in nats of `logits` [N, V].

    Args:
        reference: token ids [N], or probabilities [N, V] that get no gradient.
    """
    loss: Tensor = _CrossEntropy.apply(logits, reference)  # type: ignore[no-untyped-call]
    return loss
