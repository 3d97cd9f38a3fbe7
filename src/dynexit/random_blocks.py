"""Q4_K_M, to which the gguf package cannot round, as random blocks of its types, for speed."""

from dataclasses import dataclass

import numpy as np
from gguf.constants import GGML_QUANT_SIZES
from gguf.constants import GGMLQuantizationType as Type
from numpy.typing import NDArray
from torch import Tensor

from dynexit.model.gguf.shape import HEAD
from dynexit.model.gguf.writing import Outgoing, Rows, rounded

NAME = "q4_k_m"


@dataclass(frozen=True)
class Mix:
    """The types that llama.cpp gives the matrices of a Q4_K_M file."""

    layers: int
    name: str = NAME

    def __call__(self, tensor: Outgoing, tied: bool) -> Type:
        """See `writing.Mixture`."""
        if len(tensor.shape) == 1:
            return Type.F32
        if tensor.name == HEAD:
            return Type.Q6_K
        sensitive = tensor.name.endswith(("attn_v.weight", "ffn_down.weight"))
        return Type.Q6_K if sensitive and self._more(int(tensor.name.split(".")[1])) else Type.Q4_K

    def _more(self, layer: int) -> bool:
        """The first and last eighths of all layers, and every third between them."""
        eighth = self.layers // 8
        return layer < eighth or layer >= 7 * self.layers // 8 or (layer - eighth) % 3 == 2


class RandomBlocks:
    """Instead of numbers, random ones that are as large, row by row: fp32 [rows, inputs]."""

    def __init__(self, seed: int) -> None:
        self._draw = np.random.default_rng(seed)

    def __call__(self, values: Tensor, kind: Type) -> Rows:
        """Blocks of 256 in Q4_K or Q6_K; other types are rounded to."""
        if kind not in (Type.Q4_K, Type.Q6_K):
            return rounded(values, kind)
        inputs, size = GGML_QUANT_SIZES[kind]
        shape = (len(values), values.shape[1] // inputs, size)
        blocks = self._draw.integers(0, 256, shape, np.uint8)
        deviations = values.std(1).numpy()
        if kind is Type.Q4_K:  # scale * 4 * (0..15) - least * 4
            blocks[..., 4:12], blocks[..., 12:16] = 4, 0x44
            scales = deviations / (4 * _deviation(16))
            _put(blocks, 0, scales)
            _put(blocks, 2, scales * 7.5)
        else:  # scale * 8 * (-32..31), every second 16 with the sign turned, for a mean of 0
            blocks[..., 192:208] = np.tile(np.array([8, -8], np.int8), 8).view(np.uint8)
            _put(blocks, 208, deviations / (8 * _deviation(64)))
        return blocks.reshape(len(values), -1)


def _deviation(steps: int) -> float:
    """Standard deviation of 0..steps-1, all alike."""
    return float(((steps**2 - 1) / 12) ** 0.5)


def _put(blocks: NDArray[np.uint8], place: int, scales: NDArray[np.floating]) -> None:
    """A row's fp16 number into each of its blocks."""
    blocks[..., place : place + 2] = scales.astype(np.float16)[:, None, None].view(np.uint8)
