"""Checkpoints of shapes that two and four processes can share, and groups of both sizes."""

from dataclasses import replace

import pytest
import torch
from ranked import LARGE, SHAPES, WIDE, joined
from tiny import random_model

from dynexit.model.saving import save_checkpoint
from dynexit.model.transformer import Transformer


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """By the names of their shapes; and a small model of the same vocabulary."""
    place = tmp_path_factory.mktemp("checkpoints")
    shapes = {**SHAPES, "small": replace(WIDE, num_layers=2), "large": LARGE}
    for seed, (name, config) in enumerate(shapes.items()):
        model = random_model(config, seed, 0.7) if config != LARGE else Transformer(config)
        save_checkpoint(model, place / name, torch.float32)
    return {name: place / name for name in shapes}


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def ranks(request, tmp_path_factory):
    with joined(request.param, tmp_path_factory.mktemp("ranks")) as group:
        yield group
