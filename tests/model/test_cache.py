"""A sequence's cache: grown in blocks, rolled back by length, and refused past the context."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_checkpoints import forward, tokens_for

from dynexit.errors import DynexitError
from dynexit.model.cache import BLOCK, KVCache
from dynexit.model.config import ModelConfig

CONTEXT = 600
SMALL = ModelConfig("llama", 10, 8, 8, 2, 2, 2, 4, max_positions=40)


@pytest.fixture(scope="module")
def tokens():
    return tokens_for(CONTEXT)


@pytest.fixture(scope="module")
def whole(llama, tokens):
    """Logits of a pass over the full context at once."""
    with torch.inference_mode():
        return forward(llama, tokens)


def positions_held(cache, model):
    """Capacity in positions, from the bytes held."""
    config = model.config
    per_position = 2 * config.num_layers * config.num_kv_heads * config.head_dim * 4
    assert cache.bytes % per_position == 0
    return cache.bytes // per_position


@torch.inference_mode()
def test_grows_in_blocks_and_keeps_what_it_held(llama, tokens, whole):
    cache, logits, held = llama.new_cache(), [], [0]
    for start, stop in [(0, BLOCK - 1), (BLOCK - 1, BLOCK), (BLOCK, BLOCK + 1), (BLOCK + 1, 520)]:
        logits.append(forward(llama, tokens[start:stop], cache, start))
        held.append(positions_held(cache, llama))
    assert held == [0, BLOCK, BLOCK, 2 * BLOCK, CONTEXT]  # the last block ends with the context
    torch.testing.assert_close(torch.cat(logits), whole[:520], rtol=0, atol=1e-4)


@torch.inference_mode()
def test_starts_without_memory(llama):
    cache = llama.new_cache()
    assert (cache.bytes, cache.length, cache.max_positions) == (0, 0, CONTEXT)


@torch.inference_mode()
def test_each_cache_has_its_own_positions(llama, tokens, whole):
    first, second = llama.new_cache(), llama.new_cache()
    forward(llama, tokens[:20], first)
    forward(llama, tokens[100:120], second)
    logits = forward(llama, tokens[20:30], first, 20)
    torch.testing.assert_close(logits, whole[20:30], rtol=0, atol=1e-4)


STEPS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_what_was_rolled_back_leaves_no_trace(llama, tokens, whole, steps):
    """Wrong tokens are written, rolled back by length alone and overwritten by the right ones."""
    with torch.inference_mode():
        cache = llama.new_cache()
        for wrong, right in steps:
            start = cache.length
            if wrong:
                forward(llama, (tokens[start : start + wrong] + 1) % 97, cache, start)
            logits = forward(llama, tokens[start : start + right], cache, start)
            torch.testing.assert_close(logits, whole[start : start + right], rtol=0, atol=1e-4)
            cache.length = start + right


@torch.inference_mode()
def test_rolling_back_copies_nothing(llama, tokens):
    cache = llama.new_cache()
    key, value = torch.zeros(50, 2, 8), torch.zeros(50, 2, 8)
    before, _ = cache.write(0, 0, key, value)
    cache.length = 10
    after, _ = cache.write(0, 10, key[:5], value[:5])
    assert after.data_ptr() == before.data_ptr()
    assert after.shape == (2, 15, 8)


@torch.inference_mode()
def test_full_context_runs_and_one_more_is_refused(llama, tokens, whole):
    cache = llama.new_cache()
    forward(llama, tokens[: CONTEXT - 1], cache)
    last = forward(llama, tokens[CONTEXT - 1 :], cache, CONTEXT - 1)
    torch.testing.assert_close(last, whole[-1:], rtol=0, atol=1e-4)
    with pytest.raises(DynexitError, match=f"past the model's context of {CONTEXT}"):
        forward(llama, tokens[:1], cache, CONTEXT)


@torch.inference_mode()
def test_a_block_that_ends_past_the_context_is_refused(llama, tokens):
    cache = llama.new_cache()
    forward(llama, tokens[: CONTEXT - 2], cache)
    with pytest.raises(DynexitError, match=f"past the model's context of {CONTEXT}"):
        forward(llama, tokens[:3], cache, CONTEXT - 2)


def ones(count):
    """Keys or values of `count` positions of SMALL."""
    return torch.ones(count, 2, 4)


class Allocations:
    """Lets a number of `Tensor.new_empty` calls through, then has no memory."""

    real = torch.Tensor.new_empty

    def __init__(self, allowed):
        self.allowed = allowed

    def new_empty(self, *args):
        if self.allowed == 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        self.allowed -= 1
        return Allocations.real(*args)


@pytest.fixture
def memory_for(monkeypatch):
    def memory_for(allocations):
        limited = Allocations(allocations)
        monkeypatch.setattr(torch.Tensor, "new_empty", lambda *args: limited.new_empty(*args))

    return memory_for


@pytest.mark.parametrize("allocations", [0, 1])
def test_no_memory_is_one_sentence(memory_for, allocations):
    cache = KVCache(SMALL, torch.float32, [torch.device("cpu")] * SMALL.num_layers)
    memory_for(allocations)
    with pytest.raises(DynexitError, match="not enough memory for a KV cache of 40 positions"):
        cache.write(0, 0, ones(3), ones(3))


@pytest.mark.parametrize("allocations", [0, 1])
def test_a_cache_works_once_there_is_memory_again(memory_for, allocations):
    cache = KVCache(SMALL, torch.float32, [torch.device("cpu")] * SMALL.num_layers)
    memory_for(allocations)
    with pytest.raises(DynexitError):
        cache.write(0, 0, ones(3), ones(3))
    memory_for(100)
    keys, values = cache.write(0, 0, ones(3), ones(3))
    assert torch.equal(keys, ones(3).transpose(0, 1))
    assert torch.equal(values, ones(3).transpose(0, 1))


@pytest.mark.gpu
def test_no_memory_on_a_gpu():
    """The real thing: a context whose cache no GPU holds."""
    config = ModelConfig("llama", 10, 8, 8, 2, 64, 64, 1 << 16, max_positions=1 << 30)
    cache = KVCache(config, torch.float32, [torch.device("cuda")] * config.num_layers)
    row = torch.zeros(1, 64, 1 << 16, device="cuda")
    with pytest.raises(DynexitError, match="not enough memory for a KV cache"):
        cache.write(0, (1 << 29), row, row)
