"""Blocks of a cache that are taken over: the model goes on to the bit as if it had read them."""

from dataclasses import replace

import pytest
import torch
from affine_checkpoints import FEW, quantise
from gguf_files import write_gguf
from tiny_checkpoints import check_saved_blocks, forward, random_model, refusal, tokens_for

from dynexit.model.cache import KVCache
from dynexit.model.gguf.blocks import QUANTISED
from dynexit.model.interface import BLOCK
from dynexit.model.loading import load_shape
from dynexit.model.native.binding import runtimes
from dynexit.model.native.blocks import load_blocks

LENGTH = 600  # past a block of attention, which has 512 positions
BROAD = {
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "max_position_embeddings": LENGTH,
}
EACH_ISA = pytest.mark.parametrize("isa", sorted(runtimes()))


@pytest.mark.parametrize(
    ("dtype", "weights"),
    [(torch.float32, None), (torch.bfloat16, None), (torch.bfloat16, "int8")],
)
@pytest.mark.parametrize("head_dim", [8, 6, 48])  # 6 and 48 leave a group of values half empty
def test_every_instruction_set_reads_alike_in_any_pieces(native, dtype, weights, head_dim):
    check_saved_blocks(native(dtype, weights, head_dim=head_dim), LENGTH)


@pytest.mark.thinned(3)
@EACH_ISA
@pytest.mark.parametrize("kind", sorted(QUANTISED))
def test_so_do_models_in_blocks(tmp_path, isa, kind):
    file = tmp_path / "m.gguf"
    write_gguf(file, kind=kind, **BROAD)
    check_saved_blocks(load_blocks(file, load_shape(file), torch.bfloat16, isa), LENGTH)


@pytest.mark.parametrize("form", FEW.values(), ids=FEW)
def test_so_do_quantised_safetensors(tmp_path, form):
    plain, folder = tmp_path / "plain", tmp_path / "quantised"
    random_model("llama", "gqa", **BROAD).save_pretrained(plain)
    quantise(plain, folder, replace(form, group=128), 1)
    check_saved_blocks(load_blocks(folder, load_shape(folder), torch.bfloat16), LENGTH)


@torch.inference_mode()
def test_in_pytorch_blocks_come_back_as_they_were(llama):
    tokens, cache = tokens_for(100), llama.new_cache()
    forward(llama, tokens, cache)
    blocks = [cache.save(index) for index in range(3)]
    assert {block.nbytes for block in blocks} == {cache.block_bytes}
    fresh = llama.new_cache()
    fresh.restore(blocks)
    assert all(torch.equal(fresh.save(index), blocks[index]) for index in range(3))
    assert fresh.length == 0
    start = 3 * BLOCK
    theirs = forward(llama, tokens[start:], fresh, start)
    assert torch.equal(theirs, forward(llama, tokens[start:], cache, start))


def test_blocks_that_a_cache_does_not_have(native):
    model = native()
    cache = model.new_cache()
    assert refusal(lambda: cache.save(0)) == "block 0 of a cache is not among 0."
    forward(model, tokens_for(40), cache)
    assert refusal(lambda: cache.save(8)) == "block 8 of a cache is not among 8."
    assert refusal(lambda: cache.save(-1)) == "block -1 of a cache is not among 8."


def test_there_is_no_memory_for_them(llama, monkeypatch):
    saved = torch.zeros(llama.new_cache().block_bytes, dtype=torch.uint8)

    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(KVCache, "_grow", exhausted)
    with pytest.raises(torch.OutOfMemoryError):
        llama.new_cache().restore([saved])
