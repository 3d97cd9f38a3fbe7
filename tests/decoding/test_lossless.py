"""Every lossless method writes what plain decoding writes, token for token."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import (
    ADAPTIVE,
    DRAFTING,
    EXITING,
    FAMILIES,
    LLAMA,
    LOSSLESS,
    WITH_EXITS,
    by_recomputing,
    decode,
    layer_logits,
    new_tokens,
    random_model,
    settings_of,
)

from dynexit import LanguageModel, Sampling
from dynexit.decoding import prefilling
from dynexit.decoding.controllers import methods
from dynexit.decoding.sampling import Sampler
from dynexit.methods import make_controller
from dynexit.model.config import ModelConfig
from dynexit.model.families import families
from dynexit.model.interface import Span
from dynexit.model.probe import read_layers

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]
EXITS = (1, LLAMA.num_layers // 2, LLAMA.num_layers - 1)
LENGTHS = (0, 1, 3, 8)
GAINS = (1.0, 0.7)  # exits that agree seldom, and often
COUNT = 10  # enough for a draft of 8 to run its length
SAMPLED = {
    "top-k": {"temperature": 1.0, "top_k": 4},
    "top-p": {"temperature": 0.9, "top_p": 0.8},
    "min-p": {"temperature": 1.7, "min_p": 0.05},
    "all": {
        "temperature": 0.9,
        "top_k": 9,
        "top_p": 0.9,
        "min_p": 0.02,
        "repetition_penalty": 1.1,
    },
}


@cache
def model_of(family, gain):
    return random_model(FAMILIES[family], depth_gain=gain)


def test_every_family_has_a_shape_here():
    assert set(FAMILIES) == set(families())


def test_the_models_vary_and_their_exits_agree_now_and_then():
    for gain, (least, most) in zip(GAINS, ((0.05, 0.6), (0.4, 0.8)), strict=True):
        for family in FAMILIES:
            model = model_of(family, gain)
            text = PROMPT + new_tokens(model, PROMPT, max_new_tokens=40)
            assert len(set(text[len(PROMPT) :])) > 2, (family, gain)
            agreement = read_layers(model, torch.tensor(text)).agreement[:-1]
            assert least < sum(agreement) / len(agreement) < most, (family, gain)


@pytest.mark.parametrize("family", FAMILIES)
def test_vanilla_is_the_argmax_of_a_fresh_forward_pass(family):
    model = model_of(family, 1.0)
    assert new_tokens(model, PROMPT, max_new_tokens=20) == by_recomputing(model, PROMPT, 20)


@pytest.mark.parametrize("options", SAMPLED.values(), ids=SAMPLED)
def test_vanilla_samples_from_a_fresh_forward_pass(options):
    model, rule = model_of("llama", 1.0), Sampling(**options, seed=5)

    def choose(logits, tokens):
        return Sampler(rule, tokens).choose(logits[None]).tokens[0]

    expected = by_recomputing(model, PROMPT, 20, choose)
    assert new_tokens(model, PROMPT, sampling=rule, max_new_tokens=20) == expected


@pytest.mark.parametrize("method", DRAFTING)
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy(family, method):
    models = [model_of(family, gain) for gain in GAINS]
    texts = [new_tokens(model, PROMPT, max_new_tokens=COUNT) for model in models]
    grid = settings_of(method, EXITS, LENGTHS)
    if family != "llama":  # a third of them for each of the others
        grid = grid[list(FAMILIES).index(family) % 3 :: 3]
    for index, options in enumerate(grid):
        model, expected = models[index % 2], texts[index % 2]
        got = new_tokens(model, PROMPT, method, max_new_tokens=COUNT, **options)
        assert got == expected, options


@pytest.mark.parametrize("method", DRAFTING)
@pytest.mark.parametrize("variant", SAMPLED)
def test_sampled_with_shared_noise(method, variant):
    model = model_of("llama", 0.7)
    for seed, options in enumerate(settings_of(method, (2,), (4,))):
        rule = Sampling(**SAMPLED[variant], seed=seed)
        expected = new_tokens(model, PROMPT, sampling=rule, max_new_tokens=COUNT)
        got = new_tokens(model, PROMPT, method, sampling=rule, max_new_tokens=COUNT, **options)
        assert got == expected, options


@pytest.mark.parametrize("method", DRAFTING)
def test_greedy_with_a_repetition_penalty(method):
    model = model_of("llama", 0.7)
    for penalty in (0.6, 1.4):
        rule = Sampling(repetition_penalty=penalty)
        expected = new_tokens(model, PROMPT, sampling=rule, max_new_tokens=COUNT)
        assert expected != new_tokens(model, PROMPT, max_new_tokens=COUNT)
        got = new_tokens(model, PROMPT, method, sampling=rule, max_new_tokens=COUNT)
        assert got == expected, penalty


def test_seeds_give_different_texts_and_the_same_seed_the_same():
    model = model_of("llama", 0.7)
    rules = [Sampling(temperature=1.0, seed=seed) for seed in (0, 1, 2, 1)]
    texts = [new_tokens(model, PROMPT, "del", sampling=r, max_new_tokens=20) for r in rules]
    assert texts[0] != texts[1] != texts[2]
    assert texts[1] == texts[3]


def test_a_seed_that_was_drawn_is_reported_and_repeats_the_text():
    lm = LanguageModel(model_of("llama", 0.7))
    first = lm.generate(PROMPT, "layerskip", max_new_tokens=20, temperature=1.0)
    again = lm.generate(PROMPT, "vanilla", max_new_tokens=20, temperature=1.0, seed=first.seed)
    assert again.token_ids == first.token_ids


@pytest.mark.parametrize("method", LOSSLESS)
def test_a_prompt_that_is_run_in_several_passes(method, monkeypatch):
    model = model_of("llama", 0.7)
    prompt = [(7 * i) % LLAMA.vocab_size for i in range(40)]
    expected = by_recomputing(model, prompt, 4)
    for rows in (6, 20, 39, 40):
        monkeypatch.setattr(prefilling, "PREFILL_ROWS", rows)
        assert new_tokens(model, prompt, method, max_new_tokens=4) == expected, rows


@pytest.mark.parametrize("method", EXITING)
def test_a_controller_serves_one_prompt_after_the_other(method):
    model, controller = model_of("llama", 0.7), make_controller(method)
    for prompt in (PROMPT, PROMPT[:3], PROMPT):
        used, _ = decode(model, prompt, controller, 8)
        fresh, _ = decode(model, prompt, method, 8)
        assert used.tokens == fresh.tokens
        assert [r.plan for r in used.stats.rounds] == [r.plan for r in fresh.stats.rounds]


@pytest.mark.parametrize("method", LOSSLESS)
def test_the_cache_holds_what_a_prefill_of_the_text_would(method):
    model = model_of("llama", 0.7)
    sequence, _ = decode(model, PROMPT, method)
    assert sequence.cache.length == len(sequence.tokens) - 1
    with torch.inference_mode():
        rows = model.rows([Span(sequence.cache, sequence.cache.length, 1)])
        hidden = model.embed(torch.tensor(sequence.tokens[-1:]))
        logits = model.unembed(model.run_layers(hidden, rows, 0, LLAMA.num_layers))
    torch.testing.assert_close(logits[0], layer_logits(model, sequence.tokens)[-1, -1])


@pytest.mark.parametrize("exit_layer", EXITS)
def test_early_exit_is_plain_decoding_of_the_first_layers(exit_layer):
    assert not make_controller("early-exit").lossless
    model = random_model(depth_gain=0.7)
    got = new_tokens(model, PROMPT, "early-exit", exit_layer=exit_layer, max_new_tokens=20)
    assert got == by_recomputing(model, PROMPT, 20, layer=exit_layer)


def test_only_early_exit_is_lossy():
    assert set(methods()) - set(LOSSLESS) == {
        "early-exit",
        "two-model",
        "diffuspec",
    }  # the latter: test_two_model, test_diffuspec


@st.composite
def tiny_models(draw):
    kv_heads, group = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    flags = ("qkv_bias", "out_bias", "mlp_bias", "qk_norm", "tie_embeddings")
    config = ModelConfig(
        family="llama",
        vocab_size=draw(st.integers(2, 17)),
        hidden_size=draw(st.integers(3, 9)),
        intermediate_size=draw(st.integers(1, 9)),
        num_layers=draw(st.integers(2, 5)),
        num_heads=kv_heads * group,
        num_kv_heads=kv_heads,
        head_dim=2 * draw(st.integers(1, 3)),
        max_positions=draw(st.integers(12, 30)),
        **{flag: draw(st.booleans()) for flag in flags},
    )
    return random_model(config, draw(st.integers(0, 99)), draw(st.sampled_from([1.0, 0.6, 0.2])))


@st.composite
def method_settings(draw, num_layers):
    method = draw(st.sampled_from(DRAFTING))
    exits = st.integers(1, num_layers - 1)
    if method in ADAPTIVE:
        options = {
            "min_layer": draw(exits),
            "d_max": draw(st.integers(1, 9)),
            "prompt_positions": draw(st.sampled_from([0, 1, 5, 32])),
            "cap": draw(st.sampled_from(["threshold", "planned"])),
            "omega": draw(st.sampled_from([0.3, 0.95, 1.0])),
        }
        return method, options
    if method not in WITH_EXITS:
        return method, {}
    if method not in EXITING:
        parts = ("exits", "lookup", "table", "shadow")
        return method, {"exit_layer": draw(exits), **{part: draw(st.booleans()) for part in parts}}
    return method, {
        "exit_layer": draw(exits),
        "speculation_length": draw(st.integers(0, 9)),
    }


samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.0]),
    top_k=st.integers(0, 5),
    top_p=st.sampled_from([1.0, 0.9, 0.5]),
    min_p=st.sampled_from([0.0, 0.05, 0.3]),
    repetition_penalty=st.sampled_from([1.0, 1.0, 0.8, 1.5]),
    seed=st.integers(0, 2**40),
)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_model_method_and_settings(data):
    model = data.draw(tiny_models())
    ids = st.integers(0, model.config.vocab_size - 1)
    prompt = data.draw(st.lists(ids, min_size=1, max_size=12))
    method, options = data.draw(method_settings(model.config.num_layers))
    common = {
        "sampling": data.draw(samplings),
        "max_new_tokens": data.draw(st.integers(1, 20)),
        "eos": data.draw(st.frozensets(ids, max_size=2)),
    }
    plain, _ = decode(model, prompt, **common)
    fast, _ = decode(model, prompt, method, **common, **options)
    assert fast.new_tokens == plain.new_tokens
    assert fast.finish_reason == plain.finish_reason
