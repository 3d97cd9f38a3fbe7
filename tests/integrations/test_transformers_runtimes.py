"""What runs a loaded model: its own weights, a packed copy, or its own layers."""

import gc
import os
import subprocess
import sys
import weakref
from functools import partial

import pytest
import torch
from loaded_models import OURS, loaded, prompt

import dynexit
from dynexit import DynexitError
from dynexit.costs import store
from dynexit.costs.measuring import measure_costs
from dynexit.decoding.controllers.auto import Auto
from dynexit.integrations.transformers.runtimes import runtime_of
from dynexit.model.native.binding import runtimes
from dynexit.model.native.transformer import NativeTransformer

GREEDY = {"max_new_tokens": 24, "do_sample": False}
native_only = pytest.mark.skipif(not runtimes(), reason="the native library was not built")


def ours(model, **options):
    options = {**GREEDY, "method": "layerskip:exit_layer=2,speculation_length=3", **options}
    return model.generate(prompt(), custom_generate=dynexit.generate_hf, **options).tolist()


@pytest.mark.parametrize("family", OURS)
def test_parameters_are_shared(family):
    model = loaded(family)
    theirs = {parameter.data_ptr() for parameter in model.parameters()}
    shared = {parameter.data_ptr() for parameter in runtime_of(model).parameters()}
    assert shared == theirs


def test_the_model_stays_as_it_was():
    model, kinds = loaded("gemma"), []
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plain = model.generate(prompt(), **GREEDY).tolist()
    for _ in range(2):
        kinds.append([type(module) for module in model.modules()])
        assert ours(model) == plain
    assert kinds[0] == kinds[1]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.generate(prompt(), **GREEDY).tolist() == plain


def test_weights_that_change_are_followed():
    model = loaded("llama")
    first = ours(model)
    with torch.no_grad():
        model.model.layers[1].self_attn.q_proj.weight.add_(0.3)
        model.model.norm.weight.mul_(-1.0)
    assert ours(model) == model.generate(prompt(), **GREEDY).tolist() != first
    model.double()
    assert ours(model) == model.generate(prompt(), **GREEDY).tolist()


def test_a_module_that_is_replaced_is_followed():
    model = loaded("llama")
    ours(model)
    model.model.layers[2].mlp.up_proj = torch.nn.Linear(32, 40, bias=False)
    assert ours(model) == model.generate(prompt(), **GREEDY).tolist()


def test_a_head_with_a_bias_is_followed():
    model = loaded("llama")
    model.lm_head = torch.nn.Linear(32, 97)
    torch.nn.init.normal_(model.lm_head.bias)
    assert ours(model) == model.generate(prompt(), **GREEDY).tolist()


def test_a_hook_is_followed():
    model = loaded("llama")
    first = ours(model)
    model.model.layers[1].register_forward_hook(lambda module, given, left: left * 1.5)
    assert ours(model) == model.generate(prompt(), **GREEDY).tolist() != first


def test_nothing_keeps_a_model_alive():
    for family in ("llama", "gemma"):
        model = loaded(family)
        model.generate = partial(type(model).generate, model)  # as a repository's own does
        ours(model)
        reference = weakref.ref(model.model.layers[0].mlp)
        del model
        gc.collect()
        assert reference() is None


@native_only
@pytest.mark.parametrize("release", [False, True])
@pytest.mark.parametrize("family", OURS)
def test_accelerated_models_write_the_same(family, release):
    model = loaded(family)
    plain = model.generate(prompt(), **GREEDY).tolist()
    assert dynexit.accelerate(model, release=release) is model
    assert isinstance(runtime_of(model), NativeTransformer)
    for method in ("vanilla", "del"):
        assert ours(model, method=method) == plain
    held = {parameter.device.type for parameter in model.parameters()}
    assert held == ({"meta"} if release else {"cpu"})


def test_only_known_families_are_accelerated():
    with pytest.raises(DynexitError, match="GemmaForCausalLM cannot be packed"):
        dynexit.accelerate(loaded("gemma"))
    with pytest.raises(DynexitError, match="float64"):
        dynexit.accelerate(loaded("llama", dtype=torch.float64))


class Remembering(Auto):
    """Keeps what it is told."""

    def start(self, facts):
        super().start(facts)
        self.facts = facts


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_auto_goes_by_costs_that_are_measured_once(family, monkeypatch):
    model, made = loaded(family), []

    def measured(*asked):
        made.append(measure_costs(*asked))
        return made[-1]

    monkeypatch.setattr(store, "measure_costs", measured)
    monkeypatch.setenv("DYNEXIT_CACHE", os.devnull)  # no file is kept
    controller = Remembering()
    plain = model.generate(prompt(), **GREEDY).tolist()
    assert ours(model, method=controller) == ours(model, method="auto") == plain
    assert made == [controller.facts.costs]
    assert controller.facts.draft_vocabulary == 97


MEMORY = """
import sys, psutil, torch, dynexit
from transformers import AutoConfig, AutoModelForCausalLM
config = AutoConfig.for_model(
    sys.argv[1], vocab_size=512, hidden_size=768, intermediate_size=2304, num_hidden_layers=8,
    num_attention_heads=12, num_key_value_heads=12, head_dim=64, pad_token_id=0,
)
model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
weights = sum(p.nbytes for p in model.parameters())
ids = torch.ones(1, 8, dtype=torch.long)
model.generate(ids, max_new_tokens=4, do_sample=False)
before = psutil.Process().memory_info().rss
if sys.argv[2] == "release":
    dynexit.accelerate(model, release=True)
model.generate(ids, max_new_tokens=4, do_sample=False, custom_generate=dynexit.generate_hf)
print((psutil.Process().memory_info().rss - before) / weights)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "mode"), [("llama", "share"), ("gemma", "share"), ("llama", "release")]
)
def test_weights_are_held_once(family, mode):
    """A process grows by far less than another copy of 280 MB."""
    if mode == "release" and not runtimes():
        pytest.skip("the native library was not built")
    command = [sys.executable, "-c", MEMORY, family, mode]
    at_once = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}  # what is freed goes back
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=at_once)
    assert told.returncode == 0, told.stderr
    assert float(told.stdout) < 0.25
