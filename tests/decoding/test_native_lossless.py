"""In the native runtime speculation equals plain decoding to the bit, in every weight format."""

import random
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import gguf
import pytest
import torch
from affine_checkpoints import FEW, quantise
from gguf_blocks import blocks_like
from tiny import DRAFTING, FAMILIES, Fixed, decode, random_model

from dynexit import Sampling
from dynexit.model.gguf.blocks import QUANTISED
from dynexit.model.loading import load_shape
from dynexit.model.native.blocks import load_blocks
from dynexit.model.native.transformer import NativeTransformer
from dynexit.model.saving import save_checkpoint
from dynexit.model.stored import Blocks

FORMATS = {
    "bf16": (torch.bfloat16, None),
    "int8": (torch.bfloat16, "int8"),
    "fp32": (torch.float32, None),
}
BLOCKS = {kind.name: kind for kind in QUANTISED}


@cache
def model_of(family, form, gain):
    if form in BLOCKS:
        return in_blocks(family, BLOCKS[form], gain)
    if form in FEW:
        return affine(family, FEW[form], gain)
    dtype, weights = FORMATS[form]
    model = random_model(FAMILIES[family], depth_gain=gain, dtype=torch.float32).to(dtype)
    return NativeTransformer.packing(model, weights=weights, threads=2)


def in_blocks(family, kind, gain):
    """A model whose matrices are in blocks, as a GGUF file has them."""
    width = gguf.GGML_QUANT_SIZES[kind][0]
    heads = FAMILIES[family].num_heads
    shape = replace(
        FAMILIES[family], hidden_size=width, intermediate_size=width, head_dim=width // heads
    )
    model = random_model(shape, depth_gain=gain, dtype=torch.float32)
    native = NativeTransformer(shape, torch.bfloat16, threads=2, weights="given")
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            rows = blocks_like(module.weight.numpy(), kind)
            native.pack_blocks(name, [Blocks(rows, module.in_features, kind)], module.bias)
        elif name == "embedding" or name.endswith("norm"):
            native.pack(name, module)
    return native


def affine(family, form, gain):
    """A model out of a checkpoint that GPTQ, AWQ or compressed-tensors would have written."""
    shape = replace(FAMILIES[family], hidden_size=32, intermediate_size=32)
    with tempfile.TemporaryDirectory() as place:
        plain, folder = Path(place) / "plain", Path(place) / "quantised"
        save_checkpoint(random_model(shape, depth_gain=gain, dtype=torch.float32), plain)
        quantise(plain, folder, form)
        return load_blocks(folder, load_shape(folder), torch.bfloat16)


def compare(count):
    """`count` random cases; returns how many drafts were accepted and how many were not."""
    draw, accepted, rejected = random.Random(count), 0, 0
    for _ in range(count):
        model = model_of(
            draw.choice(list(FAMILIES)),
            draw.choice([*FORMATS, *BLOCKS, *FEW]),
            draw.choice((1.0, 0.6)),
        )
        prompt = [draw.randrange(29) for _ in range(draw.randint(1, 40))]
        method = draw.choice([*DRAFTING, Fixed(draw.randint(1, 4), draw.randint(1, 8))])
        rule = draw.choice((Sampling(), Sampling(0.8, seed=draw.randrange(99))))
        length = draw.randint(1, 60)
        plain, _ = decode(model, prompt, "vanilla", length, sampling=rule)
        other, _ = decode(model, prompt, method, length, sampling=rule)
        assert other.new_tokens == plain.new_tokens, (prompt, method, rule)
        accepted += other.stats.accepted
        rejected += other.stats.drafted - other.stats.accepted
    return accepted, rejected


def test_hundreds_of_generations():
    accepted, rejected = compare(250)
    assert min(accepted, rejected) > 200


@pytest.mark.slow
def test_thousands_of_generations():
    accepted, rejected = compare(4000)
    assert min(accepted, rejected) > 4000
