"""A native model whose head is in blocks, and what a product with it should be."""

import numpy as np
import torch

from dynexit.model.native.transformer import NativeTransformer


def native_of(config, isa, blocks):
    """A model of no layers whose head and embedding are in `blocks`, and the gains of its norm."""
    native = NativeTransformer(config, torch.float32, isa=isa, weights="given")
    native.pack_blocks("head", [blocks])
    native.pack_blocks("embedding", [blocks])
    norm = torch.nn.Module()
    gains = torch.linspace(0.5, 2.0, config.hidden_size)
    norm.register_parameter("weight", torch.nn.Parameter(gains, requires_grad=False))
    native.pack("final_norm", norm)
    return native, gains.numpy()


def in_blocks(rows):
    """Rows as int8 in blocks of 32, and back."""
    blocks = rows.reshape(len(rows), -1, 32)
    most = np.abs(blocks).max(-1, keepdims=True)
    return (np.rint(blocks * (127 / most)) * (most / 127)).reshape(rows.shape)


def check_product(config, isa, blocks, values):
    """A product is that of int8 inputs with these values, summed in fp32."""
    native, gains = native_of(config, isa, blocks)
    width = config.hidden_size
    hidden = torch.randn(19, width, generator=torch.Generator().manual_seed(1))
    rows = hidden.double().numpy()
    normed = rows / np.sqrt((rows**2).mean(-1, keepdims=True) + config.norm_eps) * gains
    expected, exact = (each @ values.T.astype(np.float64) for each in (in_blocks(normed), normed))
    got = native.unembed(hidden).double().numpy()
    off, scale = np.abs(got - expected), expected.std()
    assert np.median(off) < 2e-6 * scale
    assert off.max() < 1e-2 * scale  # where a tie was rounded the other way
    assert 0 < np.abs(got - exact).std() < 1e-2 * scale


def near(ours, theirs):
    """Within the rounding of inputs to int8, which all layers of a random model add to."""
    return 0 < float((ours - theirs).std()) < 0.1 * float(theirs.std())
