"""Texts under a constraint: what plain decoding writes under the same masks, and of that shape."""

import json
import random
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from tiny import DRAFTING, LLAMA, LOSSLESS, by_recomputing, decode, random_diffusion, random_model

from dynexit import Constraint, DynexitError, LanguageModel, Sampling
from dynexit.decoding.grammars import Grammars
from dynexit.decoding.guide import Guide
from dynexit.decoding.sampling import Sampler
from dynexit.model.native.transformer import NativeTransformer

llguidance = pytest.importorskip("llguidance")

FIELDS = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "fox": {"enum": ["quick", "brown", "lazy"]},
        "over": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["name", "age", "fox", "over"],
    "additionalProperties": False,
}
LIST = r"[a-z]{2,4}(, [a-z]{2,4}){1,3}\."
SHAPES = {
    "schema": Constraint.json(FIELDS),
    "object": Constraint.json(),
    "regex": Constraint.regex(LIST),
    "choice": Constraint.choice(["The quick brown fox", "The lazy dog", "über 😀"]),
    "lark": Constraint.grammar('start: "<" word ("-" word)* ">"\nword: /[a-f]{1,3}/'),
    "gbnf": Constraint.grammar('root ::= "jumps" (" over " [0-9]+){1,2}\n'),
}
RULES = {
    "greedy": Sampling(),
    "sampled": Sampling(0.9, top_k=40, seed=4),
    "penalised": Sampling(1.1, repetition_penalty=1.2, frequency_penalty=0.3, seed=2),
    "biased": Sampling(logit_bias={5: 4.0, 40: -3.0}),
}
COUNT = 36


@pytest.fixture(scope="module")
def grammars(tokenizer):
    return Grammars(tokenizer.backend, frozenset({0}))


@pytest.fixture(scope="module")
def model(tokenizer):
    return random_model(replace(LLAMA, vocab_size=tokenizer.size), depth_gain=0.6)


@pytest.fixture(scope="module")
def lm(model, tokenizer):
    return LanguageModel(model, tokenizer, frozenset({0}))


@pytest.fixture(scope="module")
def write(model, grammars, opening):
    """Decode under a constraint."""

    def run(shape, method="vanilla", on=model, ends=frozenset({0}), count=COUNT, **options):
        guide = grammars.guide(SHAPES[shape], ends, on.vocabulary_size)
        return decode(on, opening, method, count, ends, guide=guide, **options)[0]

    return run


def fresh_mask(grammars, constraint, tokens, size):
    """Tokens that may follow, asked of a matcher that has read these tokens and nothing else."""
    matcher = grammars._compiled(constraint).deep_copy()
    assert matcher.consume_tokens(tokens)
    bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    return torch.from_numpy(np.unpackbits(bits, bitorder="little")[:size].copy()).bool()


@pytest.mark.parametrize("shape", SHAPES)
def test_plain_decoding_is_the_argmax_of_masked_fresh_passes(
    write, model, grammars, opening, shape
):
    text = write(shape)

    def choose(logits, tokens):
        allowed = fresh_mask(grammars, SHAPES[shape], tokens[len(opening) :], len(logits))
        return int(logits.masked_fill(~allowed, -torch.inf).argmax())

    assert text.new_tokens == by_recomputing(model, opening, text.generated, choose)


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
def test_in_the_native_runtime_to_the_bit(write, model, method):
    native = NativeTransformer.packing(random_copy(model).to(torch.bfloat16), threads=2)
    for shape in SHAPES:
        plain = write(shape, on=native)
        assert write(shape, method, on=native).new_tokens == plain.new_tokens


def random_copy(model):
    return random_model(model.config, depth_gain=0.6, dtype=torch.float32)


def test_a_second_model_drafts_within_the_grammar(write, model):
    second = random_model(model.config, seed=1, depth_gain=0.5)
    for shape in SHAPES:
        text = write(shape, "two-model", second=second)
        assert text.new_tokens == write(shape).new_tokens
        drafted = [r for r in text.stats.rounds if r.draft and r.plan.drafter == "second-model"]
        assert shape != "schema" or drafted


def test_a_diffusion_model_drafts_within_the_grammar(write, model):
    tokens = model.vocabulary_size
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


def test_what_the_grammar_leaves_no_choice_about_takes_no_layer(write, grammars, model):
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


@pytest.mark.parametrize("shape", SHAPES)
def test_foreseen_tokens_begin_with_those_that_have_no_rival(write, grammars, model, shape):
    text, size = write(shape).new_tokens, model.vocabulary_size
    guide = grammars.guide(SHAPES[shape], frozenset({0}), size)
    for at in range(len(text)):
        chain, certain = guide.foreseen(text[:at])
        alone = int(fresh_mask(grammars, SHAPES[shape], text[:at], size).sum()) == 1
        assert bool(chain) == alone == bool(certain)
        assert text[at : at + certain] == chain[: len(text[at : at + certain])]
        for known in range(certain):
            mask = fresh_mask(grammars, SHAPES[shape], text[:at] + chain[:known], size)
            assert torch.nonzero(mask)[:, 0].tolist() == [chain[known]]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_depends_on_the_tokens_alone(grammars, shape, model):
    """Whatever was looked along before: the state goes back with the draft."""
    draw, size = random.Random(5), model.vocabulary_size
    guide = grammars.guide(SHAPES[shape], frozenset({0}), size)
    text = []
    for _ in range(20):
        for _ in range(4):
            path = []
            for _ in range(draw.randint(0, 5)):
                allowed = torch.nonzero(~guide.refused(text, path))[:, 0].tolist()
                wild = draw.random() < 0.2 or not allowed
                path.append(draw.randrange(size) if wild else draw.choice(allowed))
                guide.valid(text, [draw.randrange(size)])
                guide.foreseen(text)
            refused = guide.refused(text, path)
            if path[-1:] == [0]:
                assert not refused.any()
            elif guide.valid(text, path) < len(path):
                assert refused.all()
            elif 0 not in path:
                expected = fresh_mask(grammars, SHAPES[shape], text + path, size)
                assert torch.equal(~refused, expected), path
        if guide.over(text):
            break
        choices = torch.nonzero(~guide.refused(text))[:, 0].tolist()
        token = draw.choice([one for one in choices if one] or choices)
        if token == 0:
            break
        text.append(token)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_readings_settle_is_what_masked_logits_say(write, grammars, model, shape):
    """For every token that could be the likeliest of all, wherever the text stands."""
    text, size = write(shape).new_tokens, model.vocabulary_size
    guide = grammars.guide(SHAPES[shape], frozenset({0, 7}), size)
    guide_without_end = grammars.guide(SHAPES[shape], frozenset(), size)
    for at in range(len(text)):
        for one in (guide, guide_without_end):
            allowed = ~one.refused(text[:at])
            for best in range(size):
                found = one.settled(text[:at], (), best)
                if int(allowed.sum()) == 1:
                    assert found in (None, int(allowed.nonzero()))
                else:
                    assert found in ((None, best) if allowed[best] else (None,))
            likely = torch.nonzero(allowed)[:, 0].tolist()
            settled = [one.settled(text[:at], (), best) for best in likely if best not in (0, 7)]
            assert None not in settled


def test_a_tree_keeps_what_the_grammar_allows(grammars, model, tokenizer):
    from dynexit.decoding.drafters.grammar import within_grammar
    from dynexit.decoding.records import Draft

    guide = grammars.guide(Constraint.regex("a(bb|c)d*"), frozenset({0}), model.vocabulary_size)
    a, b, c, d, x = (tokenizer.encode(letter)[0] for letter in "abcdx")
    #      1  2  3  4  5  6  7  8
    tree = [a, x, b, c, a, d, b, d]
    parents = [0, 0, 1, 1, 2, 4, 3, 7]
    kept = within_grammar(Draft(tree, parents=parents, sources=["lookup"] * 8), guide, [])
    assert kept.tokens == [a, b, c, d, b, d]
    assert kept.parents == [0, 1, 1, 3, 2, 5]
    assert kept.sources == ["lookup"] * 6
    chain = within_grammar(Draft([a, c, b, d]), guide, [])
    assert (chain.tokens, chain.parents) == ([a, c], None)
    assert within_grammar(Draft([b]), guide, [a]).tokens == [b]


@pytest.mark.parametrize("method", LOSSLESS)
def test_a_limit_inside_json_is_told(write, tokenizer, method):
    text = write("schema", method, count=9)
    assert (text.finish_reason, text.generated) == ("length", 9)
    with pytest.raises(json.JSONDecodeError):
        json.loads(tokenizer.decode(text.new_tokens))


@pytest.mark.parametrize("method", LOSSLESS)
def test_the_end_comes_only_where_the_grammar_allows_it(lm, opening, method):
    """A model that would end at once writes on; one that would not is ended."""
    eager = Sampling(logit_bias={0: 90.0})
    whole = lm.generate(opening, method, constraint=SHAPES["schema"], sampling=eager)
    assert list(json.loads(whole.text)) == FIELDS["required"]
    assert whole.finish_reason == "stop"
    numbers = lm.generate(opening, method, constraint=Constraint.regex("[0-9]+"), sampling=eager)
    assert re.fullmatch("[0-9]+", numbers.text)
    unending = lm.generate(
        opening, method, constraint=Constraint.regex("[0-9]{7}"), logit_bias={0: -90.0}
    )
    assert re.fullmatch("[0-9]{7}", unending.text)
    assert unending.finish_reason == "stop"


def test_a_model_without_an_end_stops_where_nothing_can_follow(model, tokenizer, opening):
    lm = LanguageModel(model, tokenizer)
    for method in LOSSLESS:
        out = lm.generate(opening, method, constraint=SHAPES["regex"], max_new_tokens=90)
        assert re.fullmatch(LIST, out.text)
        assert out.finish_reason == "stop"


def test_stop_strings_and_stop_tokens_end_a_text_within_its_shape(lm, opening, tokenizer):
    whole = lm.generate(opening, "vanilla", constraint=SHAPES["schema"])
    for method in LOSSLESS:
        cut = lm.generate(opening, method, constraint=SHAPES["schema"], stop='"age"')
        assert cut.text == whole.text.partition('"age"')[0]
        assert cut.finish_reason == "stop"
        token = whole.token_ids[5]
        ids = lm.generate(opening, method, constraint=SHAPES["schema"], stop_token_ids=[token])
        assert ids.token_ids == whole.token_ids[: whole.token_ids.index(token)]


def test_log_probabilities_are_those_before_the_mask(lm, opening):
    streams = [
        list(lm.stream(opening, method, constraint=SHAPES["choice"], logprobs=2))
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


def test_a_text_that_is_wholly_certain(lm, opening):
    for method in LOSSLESS:
        out = lm.generate(opening, method, constraint=Constraint.json({"const": {"a": [1, None]}}))
        assert out.text == '{"a": [1, null]}'
        assert out.finish_reason == "stop"


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Constraint.json("{nope"), "the JSON schema is not JSON: "),
        (lambda: Constraint.json("[1]"), "the JSON schema is not a JSON object"),
        (lambda: Constraint.json({"a": {1}}), "the JSON schema is not JSON: "),
        (lambda: Constraint.choice([]), "the choice is empty"),
        (lambda: Constraint.choice("text"), "the choice is empty"),
        (lambda: Constraint.choice([1]), "the choice is '1': give text"),
        (lambda: Constraint.regex(b"a"), "the regular expression is "),
        (lambda: Constraint.regex("\ud800"), "the regular expression is not UTF-8"),
        (
            lambda: Constraint.json({"type": "strin"}),
            "JSON schema cannot be followed: Invalid type",
        ),
        (
            lambda: Constraint.json({"type": "array", "uniqueItems": True}),
            'JSON schema cannot be followed: Unimplemented keys: ["uniqueItems"]',
        ),
        (lambda: Constraint.json({"enum": []}), "JSON schema cannot be followed: Unsatisfiable"),
        (lambda: Constraint.regex("(a"), "regular expression cannot be followed: unclosed group"),
        (lambda: Constraint.regex("(?=a)b"), "regular expression cannot be followed: look-around"),
        (lambda: Constraint.grammar("start: foo"), "grammar cannot be followed: "),
        (lambda: Constraint.grammar('root ::= "a" | b\n'), "grammar cannot be followed: "),
        (lambda: Constraint.grammar("%%%"), "grammar cannot be followed: "),
        (lambda: "[0-9]+", "constraint must be a dynexit.Constraint"),
    ],
)
def test_what_cannot_be_followed_is_one_sentence(lm, opening, made, message):
    with pytest.raises(DynexitError) as caught:
        lm.generate(opening, constraint=made())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("options", "name"), [({"ignore_eos": True}, "ignore_eos"), ({"min_new_tokens": 2}, "min_new")]
)
def test_options_that_contradict_a_constraint_are_refused_by_name(lm, opening, options, name):
    with pytest.raises(DynexitError, match=f"{name}.* cannot be combined with a constraint"):
        lm.generate(opening, constraint=SHAPES["regex"], **options)


def test_a_checkpoint_without_a_tokenizer_is_told(model):
    with pytest.raises(DynexitError, match="a constraint needs a tokenizer"):
        LanguageModel(model).generate([1, 2], constraint=SHAPES["regex"])


def test_without_the_package_the_extra_is_named(model, tokenizer, opening, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "llguidance", None)
    lm = LanguageModel(model, tokenizer, frozenset({0}))
    with pytest.raises(DynexitError, match="the extra `constraints`"):
        lm.generate(opening, constraint=SHAPES["regex"])


def test_a_grammar_that_becomes_too_complex_is_one_sentence(tokenizer):
    limits = llguidance.LLParserLimits(max_items_in_row=20)
    names = llguidance.LLTokenizer(tokenizer.backend.to_str(), eos_token=[0])
    grammar = llguidance.grammar_from("lark", 'start: x\nx: x x | "a" | "b" x | x "b"')
    matcher = llguidance.LLMatcher(names, grammar, log_level=0, limits=limits)
    guide, a = Guide(matcher, names, frozenset({0}), tokenizer.size), tokenizer.encode("a")[0]
    with pytest.raises(DynexitError, match="the grammar cannot be followed further"):
        ask_along(guide, [a] * 40)


def ask_along(guide, text):
    for at in range(len(text)):
        guide.refused(text[:at], text[:2])
        guide.refused(text[:at])


def test_nothing_left_to_choose_is_one_sentence(lm, opening, tokenizer):
    for method in LOSSLESS:
        with pytest.raises(DynexitError, match="leave no token"):
            lm.generate(
                opening,
                method,
                constraint=Constraint.choice(["a"]),
                banned=(tuple(tokenizer.encode("a")),),
            )


def test_a_guided_sampler_reads_prompt_rows_as_they_are(grammars, model, tokenizer):
    guide = grammars.guide(SHAPES["regex"], frozenset({0}), tokenizer.size)
    logits = torch.randn(4, tokenizer.size, dtype=torch.float64)
    processed = Sampler(Sampling(), [1, 2, 3], guide=guide).process(logits, (), -3)
    assert torch.equal(processed[:3], logits[:3])
    assert processed[3].isinf().any()
