"""Texts under a constraint: what plain decoding writes under the same masks, and of that shape."""

import json
import re
from functools import cache

import pytest
import torch
from guided import FIELDS, LIST, SHAPES, fresh_mask
from tiny import DRAFTING, LOSSLESS, by_recomputing, random_diffusion, random_model

from dynexit import Constraint, LanguageModel, Sampling
from dynexit.model.native.transformer import NativeTransformer

pytest.importorskip("llguidance")

RULES = {
    "greedy": Sampling(),
    "sampled": Sampling(0.9, top_k=40, seed=4),
    "penalised": Sampling(1.1, repetition_penalty=1.2, frequency_penalty=0.3, seed=2),
    "biased": Sampling(logit_bias={5: 4.0, 40: -3.0}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_plain_decoding_is_the_argmax_of_masked_fresh_passes(
    write, word_model, grammars, opening, shape
):
    text = write(shape)

    def choose(logits, tokens):
        allowed = fresh_mask(grammars, SHAPES[shape], tokens[len(opening) :], len(logits))
        return int(logits.masked_fill(~allowed, -torch.inf).argmax())

    assert text.new_tokens == by_recomputing(word_model, opening, text.generated, choose)


@pytest.fixture(scope="module")
def plain_text(write):
    """Plain decoding's text by shape and rule, decoded once."""
    return cache(lambda shape, rule: write(shape, sampling=RULES[rule]))


@pytest.mark.thinned(3)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("method", DRAFTING)
def test_every_method_writes_plain_decodings_text(write, plain_text, method, rule):
    first = (list(RULES).index(rule) + DRAFTING.index(method)) % 2
    for shape in list(SHAPES)[0 if rule == "greedy" else first :: 1 if rule == "greedy" else 2]:
        plain, text = plain_text(shape, rule), write(shape, method, sampling=RULES[rule])
        assert (text.new_tokens, text.finish_reason) == (plain.new_tokens, plain.finish_reason)
        assert text.cache.length == len(text.tokens) - 1


@pytest.mark.parametrize("method", ["layerskip", "auto", "del", "lookup"])
def test_in_the_native_runtime_to_the_bit(write, word_model, method):
    native = NativeTransformer.packing(random_copy(word_model).to(torch.bfloat16), threads=2)
    for shape in SHAPES:
        plain = write(shape, on=native)
        assert write(shape, method, on=native).new_tokens == plain.new_tokens


def random_copy(model):
    return random_model(model.config, depth_gain=0.6, dtype=torch.float32)


def test_a_second_model_drafts_within_the_grammar(write, word_model):
    second = random_model(word_model.config, seed=1, depth_gain=0.5)
    for shape in SHAPES:
        text = write(shape, "two-model", second=second)
        assert text.new_tokens == write(shape).new_tokens
        drafted = [r for r in text.stats.rounds if r.draft and r.plan.drafter == "second-model"]
        assert shape != "schema" or drafted


def test_a_diffusion_model_drafts_within_the_grammar(write, word_model):
    tokens = word_model.vocabulary_size
    second = random_diffusion(family="llada", vocab_size=tokens + 1, mask_token=tokens)
    for shape in SHAPES:
        text = write(shape, "diffuspec", second=second)
        assert text.new_tokens == write(shape).new_tokens
        drafted = [r for r in text.stats.rounds if r.draft and r.plan.drafter == "diffusion"]
        assert shape != "schema" or drafted


@pytest.mark.parametrize("seed", range(6))
def test_texts_have_the_shape(write, tokenizer, seed):
    def written(shape):
        text = write(shape, "auto", count=120, sampling=Sampling(1.0, seed=seed))
        assert text.finish_reason == "stop"
        return tokenizer.decode(text.new_tokens)

    found = json.loads(written("schema"))
    assert list(found) == FIELDS["required"]
    assert len(found["name"]) <= 6
    assert type(found["age"]) is int
    assert found["age"] < 100
    assert found["fox"] in FIELDS["properties"]["fox"]["enum"]
    assert all(type(one) is bool for one in found["over"])
    assert len(found["over"]) <= 3
    assert re.fullmatch(LIST, written("regex"))
    assert written("choice") in json.loads(SHAPES["choice"].source)
    assert re.fullmatch(r"<[a-f]{1,3}(-[a-f]{1,3})*>", written("lark"))
    assert re.fullmatch(r"jumps( over [0-9]+){1,2}", written("gbnf"))


def test_what_the_grammar_leaves_no_choice_about_takes_no_layer(write, grammars, word_model):
    plain, text = write("schema"), write("schema", "layerskip")
    sure = [r for r in text.stats.rounds if r.plan.drafter == "grammar"]
    assert sure
    assert {r.plan.exit_layer for r in sure} == {0}
    assert len(text.stats.rounds) < len(plain.stats.rounds)
    assert not [r for r in plain.stats.rounds if r.drafted]
    sources = [chunk.source for chunk in text.chunks if chunk.token_ids]
    assert sources.count("grammar") == sum(r.accepted for r in sure)
    for at, (token, source) in enumerate(zip(text.new_tokens, sources, strict=True)):
        allowed = fresh_mask(grammars, SHAPES["schema"], text.new_tokens[:at], 310)
        assert allowed[token]
        if int(allowed.sum()) == 1 and at:  # the first token is the prefill's
            assert source in ("grammar", "accepted", "recovered", "bonus", "target")


@pytest.mark.parametrize("method", LOSSLESS)
def test_a_limit_inside_json_is_told(write, tokenizer, method):
    text = write("schema", method, count=9)
    assert (text.finish_reason, text.generated) == ("length", 9)
    with pytest.raises(json.JSONDecodeError):
        json.loads(tokenizer.decode(text.new_tokens))


@pytest.mark.parametrize("method", LOSSLESS)
def test_the_end_comes_only_where_the_grammar_allows_it(word_lm, opening, method):
    """A model that would end at once writes on; one that would not is ended."""
    eager = Sampling(logit_bias={0: 90.0})
    whole = word_lm.generate(opening, method, constraint=SHAPES["schema"], sampling=eager)
    assert list(json.loads(whole.text)) == FIELDS["required"]
    assert whole.finish_reason == "stop"
    numbers = word_lm.generate(
        opening, method, constraint=Constraint.regex("[0-9]+"), sampling=eager
    )
    assert re.fullmatch("[0-9]+", numbers.text)
    unending = word_lm.generate(
        opening, method, constraint=Constraint.regex("[0-9]{7}"), logit_bias={0: -90.0}
    )
    assert re.fullmatch("[0-9]{7}", unending.text)
    assert unending.finish_reason == "stop"


def test_a_model_without_an_end_stops_where_nothing_can_follow(word_model, tokenizer, opening):
    lm = LanguageModel(word_model, tokenizer)
    for method in LOSSLESS:
        out = lm.generate(opening, method, constraint=SHAPES["regex"], max_new_tokens=90)
        assert re.fullmatch(LIST, out.text)
        assert out.finish_reason == "stop"


def test_stop_strings_and_stop_tokens_end_a_text_within_its_shape(word_lm, opening, tokenizer):
    whole = word_lm.generate(opening, "vanilla", constraint=SHAPES["schema"])
    for method in LOSSLESS:
        cut = word_lm.generate(opening, method, constraint=SHAPES["schema"], stop='"age"')
        assert cut.text == whole.text.partition('"age"')[0]
        assert cut.finish_reason == "stop"
        token = whole.token_ids[5]
        ids = word_lm.generate(opening, method, constraint=SHAPES["schema"], stop_token_ids=[token])
        assert ids.token_ids == whole.token_ids[: whole.token_ids.index(token)]


def test_log_probabilities_are_those_before_the_mask(word_lm, opening):
    streams = [
        list(word_lm.stream(opening, method, constraint=SHAPES["choice"], logprobs=2))
        for method in ("vanilla", "layerskip", "auto")
    ]
    for chunks in streams[1:]:
        for one, other in zip(streams[0], chunks, strict=True):
            assert one.logprobs.logprob == pytest.approx(other.logprobs.logprob)
    assert any(c.logprobs.top[0][0] != c.token_ids[0] for c in streams[0])


@pytest.mark.parametrize("method", [m for m in DRAFTING if m.startswith(("layer", "lookup"))])
def test_speculative_acceptance_stays_within_the_grammar(write, tokenizer, method):
    for seed in range(5):
        rule = Sampling(1.0, seed=seed, acceptance="speculative")
        text = write("schema", method, count=120, sampling=rule)
        assert list(json.loads(tokenizer.decode(text.new_tokens))) == FIELDS["required"]


def test_a_text_that_is_wholly_certain(word_lm, opening):
    for method in LOSSLESS:
        out = word_lm.generate(
            opening, method, constraint=Constraint.json({"const": {"a": [1, None]}})
        )
        assert out.text == '{"a": [1, null]}'
        assert out.finish_reason == "stop"
