"""Unpacks a quantised matrix from its words: as floats, or as blocks of the native library."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dynexit.model.stored import Blocks

WORD = 32  # bits of what values are packed into
BLOCKS = (128, 64, 32)  # inputs; `native/formats/affine.h` has the same
ALONG = 32  # inputs whose nibbles lie together


def unpacked(words: Tensor, bits: int) -> Tensor:
    """int32 [..., N] -> uint8 [..., N * 32 / bits], a word's lowest bits first."""
    values = words.contiguous().view(torch.uint8)
    if bits == 4:
        values = torch.stack((values & 15, values >> 4), -1).flatten(-2)
    return values


@dataclass(frozen=True)
class Values:
    """A matrix whose weights are (value - zero) * scale.

    Attributes:
        bits: of a value, 4 or 8.
        values: uint8 [outputs, inputs].
        zeros: uint8 [outputs, groups]; a group is as many inputs as any other.
        scales: [outputs, groups], in the file's dtype.
    """

    bits: int
    values: Tensor
    zeros: Tensor
    scales: Tensor

    def floats(self) -> Tensor:
        """The weights, fp32 [outputs, inputs]."""
        grouped = self.values.unflatten(1, (self.scales.shape[1], -1)).float()
        centred = grouped.sub_(self.zeros[..., None])
        return centred.mul_(self.scales[..., None].float()).flatten(1)

    def blocks(self) -> Blocks | None:
        """The matrix in blocks of `native/formats/affine.h`.

        None where groups hold no whole blocks, or a scale is not to be had in fp16 exactly.
        """
        inputs, groups = self.values.shape[1], self.scales.shape[1]
        size = next((size for size in BLOCKS if inputs // groups % size == 0), None)
        halves = self.scales.half()
        if size is None or not torch.equal(halves.float(), self.scales.float()):
            return None
        shift = 0 if self.bits == 4 else 128
        heads = torch.cat((halves[..., None].view(torch.uint8), self.zeros[..., None] ^ shift), -1)
        blocks = self.values.unflatten(1, (-1, size)) ^ shift
        if self.bits == 4:
            low, high = blocks.unflatten(2, (-1, 2, ALONG // 2)).unbind(3)
            blocks = (low | high << 4).flatten(2)
        heads = heads.repeat_interleave(blocks.shape[1] // groups, 1)
        rows = torch.cat((heads, blocks), -1).flatten(1)
        return Blocks(rows.numpy(), inputs, 1000 * self.bits + size)
