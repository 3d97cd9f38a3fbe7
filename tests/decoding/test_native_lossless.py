"""In the native runtime speculation equals plain decoding to the bit, in bf16 and int8, too."""

import random
from functools import cache

import pytest
import torch
from tiny import DRAFTING, FAMILIES, Fixed, decode, random_model

from dynexit import Sampling
from dynexit.model.native.transformer import NativeTransformer

FORMATS = {
    "bf16": (torch.bfloat16, None),
    "int8": (torch.bfloat16, "int8"),
    "fp32": (torch.float32, None),
}


@cache
def model_of(family, form, gain):
    dtype, weights = FORMATS[form]
    model = random_model(FAMILIES[family], depth_gain=gain, dtype=torch.float32).to(dtype)
    return NativeTransformer.packing(model, weights=weights, threads=2)


def compare(count):
    """`count` random cases; returns how many drafts were accepted and how many were not."""
    draw, accepted, rejected = random.Random(count), 0, 0
    for _ in range(count):
        model = model_of(
            draw.choice(list(FAMILIES)), draw.choice(list(FORMATS)), draw.choice((1.0, 0.6))
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
    accepted, rejected = compare(200)
    assert min(accepted, rejected) > 200


@pytest.mark.slow
def test_thousands_of_generations():
    accepted, rejected = compare(4000)
    assert min(accepted, rejected) > 4000
