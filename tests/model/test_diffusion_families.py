"""Masked-diffusion models load in Dream's and LLaDA's forms and compute what transformers' code
computes without a causal mask. Neither is in transformers: the same weights as Qwen2 and Llama are.
"""

import json

import pytest
import torch
from safetensors.torch import save_file
from tiny_checkpoints import SHAPE, forward, random_model, read, refusal, tokens_for

import dynexit
from dynexit.model.families import families, parse_config
from dynexit.model.families.diffusion import llada
from dynexit.model.gguf.writing import checkpoint
from dynexit.model.interface import Span
from dynexit.model.runtimes import load_into
from dynexit.model.saving import save_checkpoint

MASK, LENGTH = 96, 24
DREAM = {
    **{key: value for key, value in SHAPE.items() if value is not None},
    "architectures": ["DreamModel"],
    "model_type": "Dream",
    "mask_token_id": MASK,
    "rope_theta": 10_000.0,
    "sliding_window": None,
    "use_sliding_window": False,
    "tie_word_embeddings": False,
}
LLADA = {
    "architectures": ["LLaDAModelLM"],
    "model_type": "llada",
    "activation_type": "silu",
    "alibi": False,
    "attention_layer_norm": False,
    "block_type": "llama",
    "d_model": SHAPE["hidden_size"],
    "embedding_size": SHAPE["vocab_size"],
    "include_bias": False,
    "include_qkv_bias": False,
    "input_emb_norm": False,
    "layer_norm_type": "rms",
    "mask_token_id": MASK,
    "max_sequence_length": SHAPE["max_position_embeddings"],
    "mlp_hidden_size": SHAPE["intermediate_size"],
    "multi_query_attention": None,
    "n_heads": SHAPE["num_attention_heads"],
    "n_kv_heads": SHAPE["num_key_value_heads"],
    "n_layers": SHAPE["num_hidden_layers"],
    "rms_norm_eps": SHAPE["rms_norm_eps"],
    "rope": True,
    "rope_theta": 10_000.0,
    "scale_logits": False,
    "vocab_size": SHAPE["vocab_size"] - 1,
    "weight_tying": False,
}
LLADA_NAMES = {
    "model.embed_tokens.weight": "model.transformer.wte.weight",
    "model.norm.weight": "model.transformer.ln_f.weight",
    "lm_head.weight": "model.transformer.ff_out.weight",
    **{
        f"model.layers.{index}.{theirs}.weight": f"model.transformer.blocks.{index}.{name}.weight"
        for index in range(SHAPE["num_hidden_layers"])
        for theirs, name in {
            "self_attn.q_proj": "q_proj",
            "self_attn.k_proj": "k_proj",
            "self_attn.v_proj": "v_proj",
            "self_attn.o_proj": "attn_out",
            "mlp.gate_proj": "ff_proj",
            "mlp.up_proj": "up_proj",
            "mlp.down_proj": "ff_out",
            "input_layernorm": "attn_norm",
            "post_attention_layernorm": "ff_norm",
        }.items()
    },
}


def write(folder, config, theirs):
    """A checkpoint in the form that `config` names, of a model of transformers."""
    tensors = {name: tensor.contiguous() for name, tensor in theirs.state_dict().items()}
    if config["model_type"] == "llada":
        tensors = {LLADA_NAMES[name]: tensor for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))


def said(theirs, tokens):
    """Logits [T, V] of transformers' own code, every position seeing all."""
    whole = torch.zeros(1, 1, len(tokens), len(tokens))
    return theirs(tokens[None], attention_mask=whole).logits[0]


@pytest.fixture(
    params=[("qwen2", "untied", DREAM), ("llama", "gqa", LLADA)], ids=["dream", "llada"]
)
def pair(request, tmp_path):
    """transformers' model, and ours of a checkpoint in the other form."""
    family, variant, config = request.param
    theirs = random_model(family, variant)
    write(tmp_path, config, theirs)
    with torch.inference_mode():
        yield theirs, read(tmp_path), tmp_path


def test_every_position_sees_all(pair):
    theirs, ours, _ = pair
    tokens = tokens_for(LENGTH)
    tokens[-6:] = MASK
    expected = said(theirs, tokens)
    assert (forward(ours, tokens) - expected).abs().max() < 1e-4
    causal = theirs(tokens[None]).logits[0]
    assert (causal - expected).abs().max() > 0.1, "the mask makes no difference"
    assert ours.config.mask_token == MASK
    assert ours.config.shifted == (ours.config.family == "Dream")


def test_a_later_pass_sees_what_earlier_ones_kept(pair):
    """Only the last positions are computed again, over keys and values of the first pass."""
    _, ours, _ = pair
    tokens, cache = tokens_for(LENGTH), ours.new_cache()
    whole = forward(ours, tokens, cache)
    assert torch.allclose(forward(ours, tokens[-5:], cache, LENGTH - 5), whole[-5:], atol=1e-4)
    both = [Span(cache, LENGTH - 5, 5), Span(ours.new_cache(), 0, LENGTH)]
    states = ours.embed(torch.cat((tokens[-5:], tokens)))
    joined = ours.unembed(ours.run_layers(states, ours.rows(both), 0, ours.config.num_layers))
    assert torch.allclose(joined, torch.cat((whole[-5:], whole)), atol=1e-4)


def test_saved_and_loaded_it_is_the_same(pair, tmp_path):
    _, ours, _ = pair
    save_checkpoint(ours, tmp_path / "again", torch.float32)
    again = read(tmp_path / "again")
    assert again.config == ours.config
    assert torch.equal(forward(again, tokens_for(9)), forward(ours, tokens_for(9)))


def test_it_is_not_quantised(pair):
    message = refusal(lambda: checkpoint(pair[2]))
    assert "is a masked-diffusion model, which is not quantised here" in message


@pytest.mark.parametrize("runtime", [None, "native"])
def test_it_runs_eagerly_whatever_its_target_runs_in(pair, runtime):
    _, ours, folder = pair
    loaded = load_into(runtime, folder, ours.config, None, [torch.device("cpu")])
    assert loaded.runtime_name == "eager"


def test_it_drafts_for_a_model_of_its_vocabulary(pair, tmp_path):
    """From the files: the draft model's tokens are the target's, and the mask is one of them."""
    _, _, folder = pair
    target = tmp_path / "target"
    random_model("qwen2", "untied").save_pretrained(target)
    lm = dynexit.load(target, dtype="fp64", device="cpu", check=False)
    second = dynexit.load(folder, dtype="fp64", device="cpu")
    assert second.kind == "diffusion"
    prompt = tokens_for(9).tolist()
    plain = lm.generate(prompt, "vanilla", max_new_tokens=20)
    drafted = lm.generate(prompt, "diffuspec", max_new_tokens=20, draft_model=second)
    assert drafted.token_ids == plain.token_ids
    assert drafted.stats.drafted > 0


@pytest.mark.parametrize(
    ("config", "changes", "said"),
    [
        (DREAM, {"mask_token_id": None}, "has no mask_token_id"),
        (DREAM, {"mask_token_id": 97}, "mask_token_id 97 is outside the vocabulary of 97 tokens"),
        (DREAM, {"mask_token_id": "x"}, "mask_token_id is 'x'"),
        (DREAM, {"use_sliding_window": True, "sliding_window": 8}, "sliding-window"),
        (LLADA, {"mask_token_id": None}, "has no mask_token_id"),
        (LLADA, {"block_type": "sequential"}, "block_type is 'sequential'"),
        (LLADA, {"alibi": True}, "alibi is True"),
        (LLADA, {"rope": False}, "rope is False"),
        (LLADA, {"activation_type": "swiglu"}, "activation 'swiglu' is not supported"),
    ],
)
def test_what_does_not_run_is_refused(config, changes, said):
    assert said in refusal(lambda: parse_config({**config, **changes}))


def test_the_families_are_apart():
    assert {"Dream", "llada"}.isdisjoint(families())
    assert llada.parse(LLADA).vocab_size == SHAPE["vocab_size"]
    assert llada.parse({**LLADA, "include_bias": True}).out_bias
