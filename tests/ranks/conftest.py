"""Checkpoints of shapes that two and four processes can share, and groups of both sizes."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ranked import joined

sys.path.append(str(Path(__file__).parents[1] / "decoding"))

from tiny import LLAMA, random_model

from dynexit.model.config import ModelConfig
from dynexit.model.saving import save_checkpoint
from dynexit.model.transformer import Transformer

# 29 tokens and MLPs of 26 are not to be divided by 2 or 4.
WIDE = replace(LLAMA, num_heads=8, num_kv_heads=4, intermediate_size=26)
LARGE = ModelConfig("llama", 29, 512, 2_048, 8, 8, 4, 64, 160)  # 35M parameters
SHAPES = {
    "llama": WIDE,
    "one-head-each": replace(WIDE, num_heads=4, tie_embeddings=True),
    "biases": replace(WIDE, qkv_bias=True, out_bias=True, mlp_bias=True),
    "seed-oss-biases": replace(WIDE, family="qwen2", qkv_bias=True),
    "qwen3": replace(WIDE, family="qwen3", qk_norm=True),
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """By the names of their shapes; and a small model of the same vocabulary."""
    place = tmp_path_factory.mktemp("checkpoints")
    shapes = {**SHAPES, "small": replace(WIDE, num_layers=2), "large": LARGE}
    for seed, (name, config) in enumerate(shapes.items()):
        model = random_model(config, seed, 0.7) if config != LARGE else Transformer(config)
        save_checkpoint(model, place / name, torch.float32)
    return {name: place / name for name in shapes}


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request, tmp_path_factory):
    with joined(request.param, tmp_path_factory.mktemp("ranks")) as group:
        yield group
