"""The head in oneDNN's own order, where that pays: fp32 on a CPU, and a head that is small.

Ordinary products take twice as long for 4 rows as for 1, and ten times for 20 to 50, as many as the
shadow tokens of a round are; over packed weights they cost a third to a half of that (docs/log.md).
The weights are held twice, hence the limit.
"""

import torch
from torch import Tensor

LARGEST = 64 * 2**20  # bytes


def pack(weight: Tensor) -> Tensor | None:
    """`weight` [V, D] packed for `product`; None where it does not pay or torch cannot."""
    able = hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    small = weight.numel() * weight.element_size() <= LARGEST
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or not (able and small):
        return None
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
    return packed


def product(hidden: Tensor, packed: Tensor) -> Tensor:
    """[N, D] -> [N, V]."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(hidden, packed, None, "none", [], "")
    return result
