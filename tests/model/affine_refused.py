"""What the tests of refused quantised checkpoints share."""

import torch
from affine_checkpoints import FEW

from dynexit.model.loading import load_shape
from dynexit.model.native.blocks import load_blocks

DOWN = "model.layers.0.mlp.down_proj"
GPTQ, AWQ, FOUR, EIGHT = (FEW[name] for name in ("gptq", "awq", "compressed-4", "compressed-8"))


def in_blocks(folder):
    return load_blocks(folder, load_shape(folder), torch.bfloat16)
