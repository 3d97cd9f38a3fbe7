"""Values in blocks of GGUF types, random ones where the `gguf` package cannot round to these."""

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type


def quantised(values: np.ndarray, kind: Type) -> np.ndarray:
    """Values in blocks of a type; random blocks where the `gguf` package cannot quantise."""
    try:
        return gguf.quants.quantize(values, kind)
    except NotImplementedError:
        return random_blocks(values.shape, kind, values.size)


def blocks_like(values: np.ndarray, kind: Type) -> np.ndarray:
    """As `quantised`; random blocks have each row's standard deviation."""
    try:
        return gguf.quants.quantize(values, kind)
    except NotImplementedError:
        blocks = random_blocks(values.shape, kind, values.size)
    ratio = values.std(1) / gguf.dequantize(blocks, kind).std(1)
    per_block = blocks.reshape(len(blocks), -1, gguf.GGML_QUANT_SIZES[kind][1])
    for place in scales_of(kind):
        scales = per_block[..., place : place + 2].copy().view(np.float16)
        scaled = (scales * ratio[:, None, None]).astype(np.float16)
        per_block[..., place : place + 2] = scaled.view(np.uint8)
    return blocks


def random_blocks(shape, kind: Type, seed: int) -> np.ndarray:
    """Rows of blocks whose bits are random but for their scales, which are small numbers."""
    inputs, size = gguf.GGML_QUANT_SIZES[kind]
    draw = np.random.default_rng(seed)
    blocks = draw.integers(0, 256, (shape[0], shape[-1] // inputs, size), np.uint8)
    for place in scales_of(kind):
        scales = draw.normal(0.0, 0.01, blocks.shape[:2]).astype(np.float16)
        blocks[..., place : place + 2] = scales[..., None].view(np.uint8)
    return blocks.reshape(shape[0], -1)


def scales_of(kind: Type) -> tuple[int, ...]:
    """Where a block's fp16 numbers begin."""
    places = {Type.Q2_K: (80, 82), Type.Q3_K: (108,), Type.Q6_K: (208,)}
    pairs = (Type.Q4_1, Type.Q5_1, Type.Q4_K, Type.Q5_K)
    return places.get(kind, (0, 2) if kind in pairs else (0,))
