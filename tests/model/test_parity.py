"""Every family computes what transformers computes, whichever way its layers are run."""

import json

import pytest
import torch
from tiny_checkpoints import LINEAR, LLAMA3, VARIANTS, forward, random_model, read, tokens_for
from transformers import AutoConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from dynexit.errors import DynexitError
from dynexit.model.config import RopeConfig
from dynexit.model.families import families, parse_config
from dynexit.model.interface import Span
from dynexit.model.rope import inverse_frequencies

LENGTH = 40
CASES = [(name, variant) for name in families() for variant in VARIANTS.get(name, {"none": {}})]

# A published layout of config.json before transformers 5: Llama 3.2 1B's.
LLAMA_3_2 = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": 128001,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.45.0.dev0",
    "use_cache": True,
    "vocab_size": 128256,
}
OLD_LAYOUTS = {
    "llama3": (
        LLAMA_3_2["rope_scaling"],
        RopeConfig(500_000.0, "llama3", 32.0, 1.0, 4.0, 8_192),
    ),
    "linear": ({"rope_type": "linear", "factor": 4.0}, RopeConfig(500_000.0, "linear", 4.0)),
    "linear-type": ({"type": "linear", "factor": 4.0}, RopeConfig(500_000.0, "linear", 4.0)),
    "default": (None, RopeConfig(500_000.0)),
}


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def pair(request, tmp_path_factory):
    """(transformers' model, ours) of the same checkpoint."""
    family, variant = request.param
    if family not in VARIANTS:
        pytest.fail(f"family {family!r} has no tiny config: add it to tiny_checkpoints.VARIANTS")
    folder = tmp_path_factory.mktemp(f"{family}-{variant}")
    theirs = random_model(family, variant)
    theirs.save_pretrained(folder)
    with torch.inference_mode():
        yield theirs, read(folder)


@pytest.fixture(scope="module")
def expected(pair):
    """Transformers' outputs for a whole sequence, with the state after every layer."""
    tokens = tokens_for(LENGTH)
    output = pair[0](tokens[None], output_hidden_states=True)
    assert output.logits.std() > 0.5, "logits too alike to tell a wrong forward pass"
    return tokens, output.logits[0], [state[0] for state in output.hidden_states]


def assert_close(actual, reference, tolerance=1e-4):
    difference = (actual - reference).abs().max().item()
    assert difference <= tolerance, f"differs by {difference:.2e}"


def test_prefill(pair, expected):
    tokens, logits, _ = expected
    assert_close(forward(pair[1], tokens), logits)


def test_cached_decoding(pair, expected):
    tokens, logits, _ = expected
    model = pair[1]
    cache = model.new_cache()
    ends = [7, *range(8, 20), 27, LENGTH]  # a prompt, single tokens, then blocks of 8 and 13
    parts = []
    for start, stop in zip([0, *ends[:-1]], ends, strict=True):
        parts.append(forward(model, tokens[start:stop], cache, start))
    assert_close(torch.cat(parts), logits)


def test_early_exits(pair, expected):
    tokens, logits, reference = expected
    theirs, ours = pair
    states = []
    forward(ours, tokens, states=states)
    assert len(states) == ours.config.num_layers == len(reference) - 1
    for state, their_state in zip(states[:-1], reference[1:-1], strict=True):
        assert_close(state, their_state)
        assert_close(ours.unembed(state), theirs.lm_head(theirs.model.norm(their_state)))
    assert_close(ours.final_norm(states[-1]), reference[-1])  # theirs is normed already
    assert_close(ours.unembed(states[-1]), logits)


def test_layers_in_parts(pair, expected):
    tokens, logits, _ = expected
    model = pair[1]
    for split in range(model.config.num_layers + 1):
        rows = model.rows([Span(model.new_cache(), 0, LENGTH)])
        hidden = model.run_layers(model.embed(tokens), rows, 0, split)
        hidden = model.run_layers(hidden, rows, split, model.config.num_layers)
        assert_close(model.unembed(hidden), logits)


@pytest.mark.parametrize("length_b", [1, 5])
def test_two_sequences_in_one_pass(pair, length_b):
    model = pair[1]
    tokens_a, tokens_b, start_b = tokens_for(11, seed=1), tokens_for(9, seed=2), 9 - length_b
    alone_a, alone_b = forward(model, tokens_a), forward(model, tokens_b)
    cache_a, cache_b = model.new_cache(), model.new_cache()
    forward(model, tokens_b[:start_b], cache_b)
    rows = model.rows([Span(cache_a, 0, 11), Span(cache_b, start_b, length_b)])
    hidden = model.embed(torch.cat((tokens_a, tokens_b[start_b:])))
    logits = model.unembed(model.run_layers(hidden, rows, 0, model.config.num_layers))
    assert_close(logits[:11], alone_a, 1e-5)
    assert_close(logits[11:], alone_b[start_b:], 1e-5)


@pytest.mark.parametrize("layout", OLD_LAYOUTS)
def test_old_layout_parses_like_the_new_one(layout, tmp_path):
    scaling, rope = OLD_LAYOUTS[layout]
    old = {**LLAMA_3_2, "rope_scaling": scaling}
    AutoConfig.for_model(**old).save_pretrained(tmp_path)
    new = json.loads((tmp_path / "config.json").read_text())
    assert "rope_scaling" not in new
    assert new["rope_parameters"]["rope_theta"] == 500_000.0
    assert parse_config(old) == parse_config(new)
    assert parse_config(old).rope == rope


def test_old_layout_shape():
    shape = parse_config(LLAMA_3_2)
    assert (shape.vocab_size, shape.hidden_size, shape.intermediate_size) == (128256, 2048, 8192)
    assert (shape.num_layers, shape.num_heads, shape.num_kv_heads) == (16, 32, 8)
    assert (shape.head_dim, shape.max_positions, shape.norm_eps) == (64, 131072, 1e-5)
    assert shape.tie_embeddings
    assert not any((shape.qkv_bias, shape.out_bias, shape.mlp_bias, shape.qk_norm))


@pytest.mark.parametrize("rope", [LLAMA_3_2["rope_scaling"], LLAMA3, LINEAR], ids=str)
def test_rotary_frequencies(rope):
    config = AutoConfig.for_model(**{**LLAMA_3_2, "rope_scaling": dict(rope)})
    theirs = LlamaRotaryEmbedding(config).inv_freq
    ours = inverse_frequencies(parse_config(json.loads(config.to_json_string())).rope, 64)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


OPTIONAL = {
    "hidden_act": "silu",
    "num_key_value_heads": 4,
    "head_dim": 16,
    "max_position_embeddings": 8_192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500.0,
    "tie_word_embeddings": True,
    "sliding_window": None,
}


@pytest.mark.parametrize("key", OPTIONAL)
@pytest.mark.parametrize("family", families())
def test_a_missing_key_means_what_it_means_to_transformers(family, key):
    """Ours, from a config.json without `key`, is ours from one where transformers filled it in."""
    config = {
        **{name: value for name, value in OPTIONAL.items() if name != key},
        "architectures": list(families()[family].ARCHITECTURES[:1]),
        "model_type": family,
        "vocab_size": 97,
        "hidden_size": 256,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 32,
    }
    filled = json.loads(AutoConfig.for_model(**config).to_json_string(use_diff=False))
    assert shape_or_refusal(config) == shape_or_refusal(filled)


def shape_or_refusal(config):
    try:
        return parse_config(config)
    except DynexitError as error:
        return str(error)
