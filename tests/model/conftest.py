import pytest
import torch
from tiny_checkpoints import random_model, read

from dynexit.model.native.binding import runtimes
from dynexit.model.native.transformer import NativeTransformer


@pytest.fixture
def write(tmp_path):
    """Writes a tiny checkpoint as transformers does; returns its folder."""

    def write(family="llama", variant="gqa", max_shard_size="1GB", **changes):
        model = random_model(family, variant, **changes)
        model.save_pretrained(tmp_path, max_shard_size=max_shard_size)
        return tmp_path

    return write


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    """A tiny Llama of ours whose context spans several cache blocks. Read only."""
    folder = tmp_path_factory.mktemp("llama")
    random_model(max_position_embeddings=600).save_pretrained(folder)
    return read(folder)


@pytest.fixture(scope="session")
def unquantised(tmp_path_factory):
    """A checkpoint to quantise."""
    folder = tmp_path_factory.mktemp("unquantised")
    random_model(hidden_size=64, intermediate_size=96, num_hidden_layers=2).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def eager(tmp_path_factory):
    """An eager model of a family and variant, in fp32."""

    def make(name="llama", variant="gqa", **changes):
        folder = tmp_path_factory.mktemp(f"{name}-{variant}")
        random_model(name, variant, **changes).save_pretrained(folder)
        return read(folder)

    return make


@pytest.fixture(params=sorted(runtimes()))
def native(request, eager):
    """A native model, in every instruction set that runs here."""

    def make(dtype=torch.float32, weights=None, **changes):
        model = eager(max_position_embeddings=1024, **changes).to(dtype)
        return NativeTransformer.packing(model, isa=request.param, weights=weights)

    return make
