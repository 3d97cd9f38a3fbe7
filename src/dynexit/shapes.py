"""Shapes of real models, and what a random checkpoint of one is to be: checked before PyTorch is
imported.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig, RopeConfig
from dynexit.model.gguf.files import check_new, is_gguf

STEEPEST = 2.0  # exponent of token frequencies
LLAMA3_ROPE = RopeConfig(500_000.0, "llama3", 32.0, 1.0, 4.0, 8_192)


def _llama(vocab: int, hidden: int, inner: int, layers: int, heads: int, kv: int, context: int,
           rope: RopeConfig) -> ModelConfig:  # fmt: skip
    size = hidden // heads
    return ModelConfig("llama", vocab, hidden, inner, layers, heads, kv, size, context, 1e-5, rope)


SHAPES: Mapping[str, ModelConfig] = {
    "tiny": _llama(2_048, 128, 384, 12, 4, 2, 2_048, RopeConfig()),
    "llama3.2-1b": _llama(128_256, 2_048, 8_192, 16, 32, 8, 131_072, LLAMA3_ROPE),
    "llama3-8b": _llama(128_256, 4_096, 14_336, 32, 32, 8, 8_192, RopeConfig(500_000.0)),
    "llama2-7b": _llama(32_000, 4_096, 11_008, 32, 32, 32, 4_096, RopeConfig()),
    "llama2-13b": _llama(32_000, 5_120, 13_824, 40, 40, 40, 4_096, RopeConfig()),
    "llama2-70b": _llama(32_000, 8_192, 28_672, 80, 64, 8, 4_096, RopeConfig()),
    "codellama-7b": _llama(32_016, 4_096, 11_008, 32, 32, 32, 16_384, RopeConfig(1e6)),
    "codellama-34b": _llama(32_000, 8_192, 22_016, 48, 64, 8, 16_384, RopeConfig(1e6)),
}


def plan_checkpoint(
    out: Path, like: str, anchors: Mapping[int, float], zipf: float
) -> tuple[ModelConfig, list[float]]:
    """A checkpoint's shape, and the agreement wanted of its layers 0..L.

    Raises:
        DynexitError: unknown shape, layers outside it, agreement that does not rise with depth, or
            a folder that holds something or a file that is there.
    """
    if not 0 <= zipf <= STEEPEST:
        raise DynexitError(f"--zipf {zipf} is not between 0 and {STEEPEST:g}.")
    if like not in SHAPES:
        raise DynexitError(f"shape {like!r} is not known: use one of {', '.join(SHAPES)}.")
    wanted = agreement_curve(anchors, SHAPES[like].num_layers)
    if is_gguf(out):
        check_new(out)
    elif out.exists() and not out.is_dir():
        raise DynexitError(f"{out} is not a folder: give a new folder.")
    elif out.exists() and any(out.iterdir()):
        raise DynexitError(f"{out} is not empty: give a new folder.")
    return SHAPES[like], wanted


def agreement_curve(anchors: Mapping[int, float], num_layers: int) -> list[float]:
    """Agreement of layers 0..L (0 is the embedding), straight lines between anchors."""
    if wrong := [layer for layer in anchors if not 1 <= layer < num_layers]:
        raise DynexitError(f"--agreement: layer {wrong[0]} is not between 1 and {num_layers - 1}.")
    if outside := [share for share in anchors.values() if not 0 <= share < 1]:
        raise DynexitError(f"--agreement: {outside[0]} must be at least 0 and below 1.")
    points = sorted({0: 0.0, num_layers: 1.0, **anchors}.items())
    if any(low[1] > high[1] for low, high in pairwise(points)):
        raise DynexitError("--agreement must rise with depth.")
    layers, shares = zip(*points, strict=True)
    return [float(share) for share in np.interp(range(num_layers + 1), layers, shares)]
