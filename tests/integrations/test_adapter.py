"""Families that run by their own layers, at the lengths that published models have."""

import os
import sys
import threading

import pytest
import torch
from loaded_models import OTHERS, loaded, prompt
from transformers import GPT2Config, GPT2LMHeadModel

import dynexit
from dynexit import DynexitError
from dynexit.costs import measuring
from dynexit.integrations.transformers.cache import AdapterCache

GREEDY = {"max_new_tokens": 8, "do_sample": False}


@pytest.fixture
def quickly(monkeypatch):
    """Costs are measured by as few passes as they can be, and kept in no file."""
    monkeypatch.setattr(measuring, "BUDGET", 0.0)
    monkeypatch.setenv("DYNEXIT_CACHE", os.devnull)


def states(*rows):
    return torch.tensor(rows, dtype=torch.float32)[None, None]  # [1, 1, n, D]


def test_a_pass_may_stand_far_past_what_a_cache_holds():
    cache = AdapterCache(1, 4_096)
    layer = cache.at(0).layers[0]
    layer.update(states([1, 2], [3, 4]), states([5, 6], [7, 8]))
    cache.at(1_024)
    keys, values = layer.update(states([9, 9]), states([8, 8]))
    assert keys.shape == values.shape == (1, 1, 1_025, 2)
    assert keys[0, 0, [0, 1, -1]].tolist() == [[1, 2], [3, 4], [9, 9]]
    assert values[0, 0, [0, 1, -1]].tolist() == [[5, 6], [7, 8], [8, 8]]


def test_the_default_method_in_a_context_of_1024(quickly):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=2, initializer_range=0.2)
    model = GPT2LMHeadModel(config).eval()
    plain = model.generate(prompt(), **GREEDY)
    made = model.generate(prompt(), **GREEDY, custom_generate=dynexit.generate_hf)
    assert made.tolist() == plain.tolist()


ROPE = {
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 1_024},
    "dynamic": {"factor": 2.0},
}
RARE = [pytest.param(name, marks=pytest.mark.slow) for name in OTHERS if name != "phi3"]


@pytest.mark.parametrize("family", ["phi3", *ROPE, *RARE])
def test_the_default_method_in_a_long_context(family, quickly):
    changes = {"max_position_embeddings": 4_096}
    if family in ROPE:
        changes["rope_parameters"] = {"rope_type": family, "rope_theta": 1e4, **ROPE[family]}
    model = loaded("llama" if family in ROPE else family, **changes)
    plain = model.generate(prompt(), **GREEDY)
    made = model.generate(prompt(), **GREEDY, custom_generate=dynexit.generate_hf)
    assert made.tolist() == plain.tolist()


def with_longrope(family, limit):
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "factor": 4.0}
    rope |= {"short_factor": [1.0] * 4, "long_factor": [3.0] * 4}
    changes = {} if family == "llama" else {"original_max_position_embeddings": limit}
    rope["original_max_position_embeddings"] = limit
    return loaded(family, dtype=torch.float64, rope_parameters=rope, **changes)


@pytest.mark.parametrize("family", ["phi3", "llama"])
def test_angles_that_depend_on_the_length_of_a_pass(family):
    model, method = with_longrope(family, 32), "layerskip:exit_layer=2,speculation_length=4"
    drafting = {"do_sample": False, "custom_generate": dynexit.generate_hf, "method": method}
    plain = model.generate(prompt(), do_sample=False, max_new_tokens=26)
    assert model.generate(prompt(), **drafting, max_new_tokens=26).tolist() == plain.tolist()
    with pytest.raises(DynexitError, match=r"past 32 positions \(longrope\).* at most 33"):
        model.generate(prompt(), **drafting, max_new_tokens=27)


def test_texts_of_several_threads():
    model, texts = loaded("olmo2", dtype=torch.float64), {}
    wanted = {seed: model.generate(prompt(5, seed), **GREEDY).tolist() for seed in range(3)}
    options = {**GREEDY, "custom_generate": dynexit.generate_hf, "method": "layerskip"}

    def write(seed):
        texts[seed] = model.generate(prompt(5, seed), **options).tolist()

    threads = [threading.Thread(target=write, args=(seed,)) for seed in wanted]
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert texts == wanted
