"""What a grammar says of the tokens that may follow a text and a draft."""

import random

import pytest
import torch
from guided import SHAPES, fresh_mask

from dynexit import Constraint, DynexitError, Sampling
from dynexit.decoding.guide import Guide
from dynexit.decoding.sampling import Sampler

llguidance = pytest.importorskip("llguidance")


@pytest.mark.parametrize("shape", SHAPES)
def test_foreseen_tokens_begin_with_those_that_have_no_rival(write, grammars, word_model, shape):
    text, size = write(shape).new_tokens, word_model.vocabulary_size
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
def test_a_mask_depends_on_the_tokens_alone(grammars, shape, word_model):
    """Whatever was looked along before: the state goes back with the draft."""
    draw, size = random.Random(5), word_model.vocabulary_size
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
def test_what_readings_settle_is_what_masked_logits_say(write, grammars, word_model, shape):
    """For every token that could be the likeliest of all, wherever the text stands."""
    text, size = write(shape).new_tokens, word_model.vocabulary_size
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


def test_a_tree_keeps_what_the_grammar_allows(grammars, word_model, tokenizer):
    from dynexit.decoding.drafters.grammar import within_grammar
    from dynexit.decoding.records import Draft

    guide = grammars.guide(
        Constraint.regex("a(bb|c)d*"), frozenset({0}), word_model.vocabulary_size
    )
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


def test_a_guided_sampler_reads_prompt_rows_as_they_are(grammars, word_model, tokenizer):
    guide = grammars.guide(SHAPES["regex"], frozenset({0}), tokenizer.size)
    logits = torch.randn(4, tokenizer.size, dtype=torch.float64)
    processed = Sampler(Sampling(), [1, 2, 3], guide=guide).process(logits, (), -3)
    assert torch.equal(processed[:3], logits[:3])
    assert processed[3].isinf().any()
