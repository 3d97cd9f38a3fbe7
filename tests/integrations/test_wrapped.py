"""Whatever stands between a model's weights and its result is called, or refused by name."""

import copy

import pytest
import torch
from loaded_models import loaded, prompt
from torch import nn
from torch.nn.utils import parametrizations, prune
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

import dynexit
from dynexit import DynexitError
from dynexit.integrations.transformers.adapter import Adapter
from dynexit.integrations.transformers.runtimes import runtime_of
from dynexit.model.native.binding import runtimes
from dynexit.model.transformer import Transformer

GREEDY = {"max_new_tokens": 16, "do_sample": False}
METHODS = ["layerskip:exit_layer=2,speculation_length=3", "del"]
native_only = pytest.mark.skipif(not runtimes(), reason="the native library was not built")


def plain(model):
    return model.generate(input_ids=prompt(), **GREEDY).tolist()


def ours(model, method=METHODS[0]):
    options = {**GREEDY, "custom_generate": dynexit.generate_hf, "method": method}
    return model.generate(input_ids=prompt(), **options).tolist()


@pytest.fixture(scope="module")
def peft():
    return pytest.importorskip("peft", reason="peft is not installed")


def with_lora(peft, dtype=torch.float64, **options):
    """A Llama under an adapter that says something, which a fresh one does not."""
    targets = ["q_proj", "v_proj", "down_proj"]
    config = peft.LoraConfig(r=8, target_modules=targets, init_lora_weights=False, **options)
    torch.manual_seed(1)
    return peft.get_peft_model(loaded("llama", dtype=dtype), config).eval()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", METHODS)
def test_text_with_an_adapter_is_the_adapters(peft, method, dtype):
    model = with_lora(peft, dtype)
    base = plain(loaded("llama", dtype=dtype))
    adapted = plain(model)
    assert ours(model, method) == adapted != base
    assert isinstance(runtime_of(model.base_model.model), Adapter)
    with model.disable_adapter():
        assert ours(model, method) == base
    assert ours(model, method) == adapted


def test_a_merged_adapter_is_followed(peft):
    model = with_lora(peft)
    adapted = plain(model)
    model.merge_adapter()
    assert ours(model) == plain(model) == adapted
    merged = model.merge_and_unload()
    assert ours(merged) == adapted
    assert isinstance(runtime_of(merged), Transformer)


@pytest.mark.parametrize(
    "options", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"lora_dropout": 0.5}]
)
def test_kinds_of_adapters(peft, options):
    model = with_lora(peft, **options)
    assert ours(model) == plain(model)


def test_dropout_that_is_in_training_is_refused(peft):
    model = with_lora(peft, lora_dropout=0.5)
    model.base_model.model.model.layers[1].mlp.down_proj.train()
    with pytest.raises(DynexitError, match="eval"):
        ours(model)


def test_an_adapter_without_a_class_of_pefts(peft):
    model = loaded("llama", dtype=torch.float64)
    first = ours(model)
    config = peft.LoraConfig(r=4, target_modules=["o_proj"], init_lora_weights=False)
    peft.inject_adapter_in_model(config, model)
    model.eval()
    assert ours(model) == plain(model) != first


def test_learned_prompts_are_refused_by_name(peft):
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    model = peft.get_peft_model(loaded("llama"), config).eval()
    with pytest.raises(DynexitError, match="prepare_inputs_for_generation is replaced"):
        ours(model)


@native_only
def test_accelerate_names_what_it_cannot_pack(peft):
    model = with_lora(peft, torch.float32).base_model.model
    named = r"layers\.0\.self_attn\.q_proj is a peft\.tuners\.lora\.layer\.Linear"
    with pytest.raises(DynexitError, match=named):
        dynexit.accelerate(model)


@native_only
def test_what_comes_after_accelerate_is_not_left_out(peft):
    model = dynexit.accelerate(loaded("llama"))
    assert ours(model) == plain(model)
    config = peft.LoraConfig(r=4, target_modules=["o_proj"], init_lora_weights=False)
    changed = peft.get_peft_model(model, config).eval()
    with pytest.raises(DynexitError, match="call `accelerate` again"):
        ours(changed)
    assert ours(changed.unload()) == plain(model)


class Doubled(nn.Linear):
    """Twice what a linear layer says."""

    def forward(self, hidden):
        return 2 * super().forward(hidden)


class Wrapped(nn.Module):
    """Changes what another module says; a norm, for one."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, hidden):
        return self.inner(hidden).abs()


class Quantised(nn.Parameter):
    """Weights that say themselves what a product with them is, as torchao's do."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            made = func(*args, **(kwargs or {}))
        return 1.5 * made if func is nn.functional.linear else made


def doubled(model):
    old = model.model.layers[1].self_attn.v_proj
    model.model.layers[1].self_attn.v_proj = Doubled(32, 16, bias=False).double()
    model.model.layers[1].self_attn.v_proj.weight = old.weight


def wrapped_norm(model):
    model.model.norm = Wrapped(model.model.norm)


def wrapped_layer_norm(model):
    model.model.layers[2].input_layernorm = Wrapped(model.model.layers[2].input_layernorm)


def parametrised(model):
    parametrizations.spectral_norm(model.model.layers[0].mlp.up_proj)


def pruned(model):
    prune.l1_unstructured(model.model.layers[0].mlp.up_proj, "weight", amount=0.5)


def forward_of_its_own(model):
    layer = model.model.layers[1].mlp
    layer.forward = lambda hidden: 3.0 * type(layer).forward(layer, hidden)


def quantised(model):
    linear = model.model.layers[0].self_attn.o_proj
    linear.weight = Quantised(linear.weight.data, requires_grad=False)


def hooked_before(model):
    model.model.layers[3].register_forward_pre_hook(
        lambda module, given: (given[0] * 2, *given[1:])
    )


def another_setting(model):
    model.model.layers[0].input_layernorm.variance_epsilon = 0.5


def attention_of_ones_own(model):
    def sharper(module, query, *arguments, **options):
        return sdpa_attention_forward(module, 2 * query, *arguments, **options)

    AttentionInterface.register("sharper", sharper)
    AttentionMaskInterface.register("sharper", sdpa_mask)
    model.config._attn_implementation = "sharper"


STRANGE = [
    doubled, wrapped_norm, wrapped_layer_norm, parametrised, pruned, forward_of_its_own, quantised,
    hooked_before, another_setting, attention_of_ones_own,
]  # fmt: skip


@pytest.mark.parametrize("change", STRANGE, ids=lambda change: change.__name__)
def test_what_is_not_the_familys_own_is_called(change):
    model = loaded("llama", dtype=torch.float64)
    first = ours(model)
    change(model)
    assert ours(model) == ours(model, "del") == plain(model) != first
    assert isinstance(runtime_of(model), Adapter)
    with pytest.raises(DynexitError, match="cannot be packed"):
        dynexit.accelerate(model)


def test_a_configuration_that_no_module_reads_again_is_not_read():
    model = loaded("llama", dtype=torch.float64)
    model.config.rms_norm_eps = 0.5
    assert ours(model) == plain(model) == plain(loaded("llama", dtype=torch.float64))


def test_a_class_that_was_patched_is_called(monkeypatch):
    forward = LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", lambda self, hidden: 2.0 * forward(self, hidden))
    model = loaded("llama", dtype=torch.float64)
    assert ours(model) == plain(model)
    assert isinstance(runtime_of(model), Adapter)


def test_a_hook_on_everything_is_called():
    model = loaded("llama", dtype=torch.float64)
    first = ours(model)

    def scaled(module, given, left):
        return 1.3 * left if isinstance(module, LlamaRMSNorm) else None

    handle = nn.modules.module.register_module_forward_hook(scaled)
    try:
        assert ours(model) == plain(model) != first
    finally:
        handle.remove()
    assert ours(model) == first


@pytest.mark.parametrize("at", ["", "model"])
def test_a_hook_on_the_outer_modules_is_called(at):
    model = loaded("llama", dtype=torch.float64)
    first = ours(model)

    def changed(module, given, left):
        name = "last_hidden_state" if at else "logits"
        left[name] = left[name].roll(1, -1)
        return left

    model.get_submodule(at).register_forward_hook(changed)
    assert ours(model) == plain(model) != first


def test_hooks_that_only_listen_cost_nothing():
    model = loaded("llama")
    model(prompt(), output_hidden_states=True)  # leaves hooks on every layer
    assert ours(model) == plain(model)
    assert isinstance(runtime_of(model), Transformer)


@pytest.mark.slow
def test_a_compiled_forward_is_the_same():
    model = loaded("llama")
    text = plain(model)
    model.forward = torch.compile(model.forward, backend="eager")
    assert ours(model) == text
    assert isinstance(runtime_of(model), Transformer)


def test_a_forward_of_the_whole_models_own_is_refused():
    model = loaded("olmo2")
    model.forward = lambda *given, **options: type(model).forward(model, *given, **options)
    with pytest.raises(DynexitError, match="its forward is replaced"):
        ours(model)


@pytest.mark.parametrize("packed", [False, pytest.param(True, marks=native_only)])
def test_frequencies_that_were_rounded_are_the_models_own(packed):
    model = loaded(
        "llama", dtype=torch.bfloat16
    ).float()  # as `model.to(torch.bfloat16)` leaves them
    exact = loaded("llama", dtype=torch.float32)
    assert not torch.equal(model.model.rotary_emb.inv_freq, exact.model.rotary_emb.inv_freq)
    sharp = copy.deepcopy(model)
    sharp.model.rotary_emb.inv_freq = exact.model.rotary_emb.inv_freq
    ids, wanted = prompt(100), model(prompt(100)).logits[0, -1]
    runtime = runtime_of(dynexit.accelerate(model) if packed else model)
    cache = runtime.new_cache()
    rows = runtime.rows([dynexit.model.interface.Span(cache, 0, 100)])
    made = runtime.unembed(runtime.run_layers(runtime.embed(ids[0]), rows, 0, 4))[-1]
    torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-4)
    assert float((sharp(ids).logits[0, -1] - wanted).abs().max()) > 5e-3


def test_a_resized_vocabulary_and_another_pad_token_are_ordinary():
    model = loaded("llama")
    model.resize_token_embeddings(120)
    model.config.pad_token_id = 5
    assert ours(model) == plain(model)
    assert isinstance(runtime_of(model), Transformer)
