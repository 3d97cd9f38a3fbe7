"""Logits that are biased, and tokens that must not come: losslessly, or refused by name."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from tiny import LLAMA, LOSSLESS, by_recomputing, new_tokens, random_model

from dynexit import DynexitError, LanguageModel, Sampling

PROMPT, COUNT = [3, 1, 4, 1, 5, 9, 2, 6], 20


@pytest.fixture(scope="module")
def model():
    return random_model(depth_gain=0.7)


@pytest.mark.parametrize("method", LOSSLESS)
def test_biased_logits(model, method):
    bias = {2: 3.0, 7: -100.0, 11: 0.5, 28: 2.0}

    def choose(logits, tokens):
        return int((logits + torch.tensor([bias.get(t, 0.0) for t in range(29)])).argmax())

    expected = by_recomputing(model, PROMPT, COUNT, choose)
    assert expected != by_recomputing(model, PROMPT, COUNT)
    got = new_tokens(model, PROMPT, method, max_new_tokens=COUNT, logit_bias=bias)
    assert got == expected


@pytest.mark.parametrize("method", LOSSLESS)
def test_banned_sequences_do_not_stand_in_the_text(model, method):
    plain = by_recomputing(model, PROMPT, COUNT)
    banned = ((plain[0],), tuple(plain[3:5]), tuple(plain[8:11]))

    def choose(logits, tokens):
        text = tokens[len(PROMPT) :]
        wrong = [one[-1] for one in banned if text[len(text) - len(one) + 1 :] == [*one[:-1]]]
        return int(logits.index_fill(0, torch.tensor(wrong, dtype=torch.long), -torch.inf).argmax())

    expected = by_recomputing(model, PROMPT, COUNT, choose)
    assert plain[0] not in expected
    got = new_tokens(model, PROMPT, method, max_new_tokens=COUNT, banned=banned)
    assert got == expected


@pytest.mark.parametrize("method", LOSSLESS)
def test_sampled_with_all_of_it(model, method):
    rule = Sampling(
        1.1, top_k=9, repetition_penalty=1.2, seed=3, logit_bias={4: 2.0}, banned=((5,), (4, 4))
    )
    plain = new_tokens(model, PROMPT, sampling=rule, max_new_tokens=COUNT)
    assert 5 not in plain
    assert (4, 4) not in pairwise(plain)
    assert new_tokens(model, PROMPT, method, sampling=rule, max_new_tokens=COUNT) == plain


def test_bad_words_are_kept_out_in_their_tokens(author, opening, continuation):
    assert " fox" in author.generate(opening, max_new_tokens=30).text
    for method in LOSSLESS:
        texts = [
            author.generate(opening, one, bad_words=["fox"], max_new_tokens=30).text
            for one in ("vanilla", method)
        ]
        assert texts[0] == texts[1]
        assert "fox" not in texts[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"logit_bias": {40: 1.0}}, "token id 40 is outside the vocabulary"),
        ({"logit_bias": {"a": 1.0}}, "logit_bias has 'a'"),
        ({"logit_bias": {1: float("nan")}}, "logit_bias has 1: nan"),
        ({"banned": ((),)}, "banned holds an empty sequence"),
        ({"banned": ((1, 99),)}, "token id 99 is outside the vocabulary"),
        ({"banned": tuple((t,) for t in range(29))}, "leave no token"),
        ({"bad_words": ["a"]}, "bad_words need a tokenizer"),
    ],
)
def test_what_cannot_be_is_one_sentence(model, options, message):
    with pytest.raises(DynexitError, match=message):
        new_tokens(model, PROMPT, max_new_tokens=4, **options)


def test_bad_words_that_are_no_texts(tokenizer):
    lm = LanguageModel(random_model(replace(LLAMA, vocab_size=tokenizer.size)), tokenizer)
    for words, message in (([3], "bad_words holds 3"), ([""], "gives no tokens for ''")):
        with pytest.raises(DynexitError, match=message):
            lm.generate([1], bad_words=words)
