"""Where texts may end: EOS that is ignored, tokens that stop, and a least length, losslessly."""

import pytest
import torch
from tiny import LOSSLESS, by_recomputing, decode, layer_logits, random_model

from dynexit import DynexitError, LanguageModel, Sampling
from dynexit.decoding.loop import finish

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]
COUNT = 16
RULES = {
    "greedy": {},
    "sampled": {"temperature": 1.2, "top_k": 9, "seed": 3},
    "penalised": {"repetition_penalty": 1.3, "frequency_penalty": 0.4},
}


@pytest.fixture(scope="module")
def model():
    return random_model(depth_gain=0.7)


@pytest.fixture(scope="module")
def plain(model):
    return by_recomputing(model, PROMPT, COUNT)


@pytest.fixture(scope="module")
def eos(plain):
    """A token that plain decoding writes early, and one that it writes later."""
    first = plain[2]
    return frozenset({first, next(token for token in plain[6:] if token != first)})


def test_eos_that_is_ignored_is_a_token_like_others(model, plain, eos):
    lm = LanguageModel(model, eos=eos)
    for method in LOSSLESS:
        assert len(lm.generate(PROMPT, method, max_new_tokens=COUNT).token_ids) < 3
        out = lm.generate(PROMPT, method, max_new_tokens=COUNT, ignore_eos=True)
        assert (out.token_ids, out.finish_reason) == (plain, "length")


def test_stop_tokens_end_the_text_as_eos_does(model, plain):
    lm = LanguageModel(model)
    for number, stop in enumerate(plain):
        expected, asked = plain[: plain.index(stop)], {"stop_token_ids": [stop]}
        for index, method in enumerate(LOSSLESS):
            asked["ignore_eos"] = bool((number + index) % 2)
            out = lm.generate(PROMPT, method, max_new_tokens=COUNT, **asked)
            assert (out.token_ids, out.finish_reason) == (expected, "stop")


@pytest.mark.parametrize("least", [1, 3, 5, 10, COUNT])
def test_before_the_least_length_the_likeliest_token_that_goes_on_is_written(model, eos, least):
    def choose(logits, tokens):
        if len(tokens) - len(PROMPT) < least:
            logits = logits.clone()
            logits[list(eos)] = -torch.inf
        return int(logits.argmax())

    expected = by_recomputing(model, PROMPT, COUNT, choose)
    ends = [at for at, token in enumerate(expected) if token in eos]
    expected = expected[: min(ends, default=COUNT)]
    assert len(expected) >= least
    lm = LanguageModel(model, eos=eos)
    for method in LOSSLESS:
        out = lm.generate(PROMPT, method, max_new_tokens=COUNT, min_new_tokens=least)
        assert out.token_ids == expected, method


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("least", [4, 9])
def test_every_method_writes_what_plain_decoding_writes(model, eos, rule, least):
    lm = LanguageModel(model, eos=eos)
    asked = {"max_new_tokens": COUNT, "min_new_tokens": least, "stop_token_ids": [7], **rule}
    expected = lm.generate(PROMPT, "vanilla", **asked)
    assert len(expected.token_ids) >= least
    assert not (eos | {7}) & set(expected.token_ids)
    for method in LOSSLESS:
        assert lm.generate(PROMPT, method, **asked).token_ids == expected.token_ids, method


@pytest.mark.parametrize("method", ["layerskip", "auto"])
def test_speculative_acceptance_never_draws_an_end_too_early(model, eos, method):
    lm = LanguageModel(model, eos=eos)
    for seed in range(20):
        rule = Sampling(1.5, seed=seed, acceptance="speculative")
        out = lm.generate(PROMPT, method, max_new_tokens=12, min_new_tokens=9, sampling=rule)
        assert len(out.token_ids) >= 9
        assert not eos & set(out.token_ids)


def test_drafts_are_read_fast_again_once_the_text_may_end(model, eos):
    sequence, _ = decode(model, PROMPT, "layerskip", COUNT, eos)
    assert sequence.sampler.best_only
    lm = LanguageModel(model, eos=eos)
    held = lm.sequence(PROMPT, "layerskip", max_new_tokens=COUNT, min_new_tokens=2)
    assert not held.sampler.best_only
    held.tokens += [10, 11]
    assert held.sampler.best_only


@pytest.mark.parametrize("count", [0, 3])
def test_the_prompts_own_logprobs(model, count):
    lm = LanguageModel(model)
    for method in LOSSLESS:
        text = lm.sequence(PROMPT, method, max_new_tokens=count, logprobs=2, prompt_logprobs=True)
        finish(text)
        rows = layer_logits(model, PROMPT)[-1].log_softmax(-1)
        assert [one.token for one in text.prompt_logprobs] == PROMPT[1:]
        for row, one in zip(rows, text.prompt_logprobs, strict=False):
            assert one.logprob == pytest.approx(float(row[one.token]))
            assert [token for token, _ in one.top] == row.topk(2).indices.tolist()
        assert (text.generated, text.finish_reason) == (count, "length")


def test_nothing_is_written_where_nothing_was_asked_for(model):
    out = LanguageModel(model).generate(PROMPT, max_new_tokens=0)
    assert (out.token_ids, out.text, out.finish_reason) == ([], "", "length")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_new_tokens": -1}, "max_new_tokens is -1"),
        ({"min_new_tokens": -1}, "min_new_tokens is -1"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "between 0 and max_new_tokens, 8"),
        ({"stop_token_ids": [29]}, "token id 29 is outside"),
        ({"stop_token_ids": list(range(29)), "min_new_tokens": 1}, "every token ends the text"),
    ],
)
def test_limits_that_no_text_can_meet_are_refused(model, options, sentence):
    with pytest.raises(DynexitError, match=sentence):
        LanguageModel(model).generate(PROMPT, **options)
