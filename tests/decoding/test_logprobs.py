"""Log-probabilities are the target's, whatever was drafted; penalties count what the text holds."""

import pytest
import torch
from tiny import LOSSLESS, by_recomputing, layer_logits, random_model

from dynexit import DynexitError, LanguageModel, Sampling

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.fixture(scope="module")
def lm():
    return LanguageModel(random_model(depth_gain=0.7))


@pytest.mark.parametrize("method", LOSSLESS)
def test_logprobs_are_those_of_a_fresh_forward_pass(lm, method):
    chunks = list(lm.stream(PROMPT, method, max_new_tokens=12, logprobs=3))
    tokens = PROMPT + [chunk.token_ids[0] for chunk in chunks]
    expected = layer_logits(lm.model, tokens)[-1].log_softmax(-1)[len(PROMPT) - 1 : -1]
    assert tokens[len(PROMPT) :] == lm.generate(PROMPT, max_new_tokens=12).token_ids
    for row, chunk in zip(expected, chunks, strict=True):
        said, best = chunk.logprobs, row.topk(3)
        assert said.token == chunk.token_ids[0]
        assert said.logprob == pytest.approx(float(row[said.token]))
        assert [token for token, _ in said.top] == best.indices.tolist()
        assert [value for _, value in said.top] == pytest.approx(best.values.tolist())


def test_logprobs_come_before_temperature_and_penalties(lm):
    rule = {"temperature": 0.3, "top_k": 2, "frequency_penalty": 1.0, "seed": 3}
    chunks = list(lm.stream(PROMPT, "layerskip", max_new_tokens=8, logprobs=0, **rule))
    tokens = PROMPT + [chunk.token_ids[0] for chunk in chunks]
    raw = layer_logits(lm.model, tokens)[-1].log_softmax(-1)[len(PROMPT) - 1 : -1]
    expected = [float(row[token]) for row, token in zip(raw, tokens[len(PROMPT) :], strict=True)]
    assert [chunk.logprobs.logprob for chunk in chunks] == pytest.approx(expected)
    assert all(chunk.logprobs.top == () for chunk in chunks)


def test_no_one_who_did_not_ask_is_given_logprobs(lm):
    assert all(chunk.logprobs is None for chunk in lm.stream(PROMPT, "del", max_new_tokens=4))


RULES = [(0.7, 0.0), (0.0, 0.4), (-0.5, 0.3), (1.5, -0.2)]


@pytest.mark.parametrize(("presence", "frequency"), RULES)
def test_penalties_lower_what_the_text_holds_and_not_the_prompt(lm, presence, frequency):
    def choose(logits, tokens):
        counts = torch.tensor(tokens[len(PROMPT) :], dtype=torch.long).bincount(minlength=29)
        return int((logits - frequency * counts - presence * (counts > 0)).argmax())

    expected = by_recomputing(lm.model, PROMPT, 24, choose)
    rule = {"presence_penalty": presence, "frequency_penalty": frequency}
    for method in LOSSLESS:
        assert lm.generate(PROMPT, method, max_new_tokens=24, **rule).token_ids == expected
    assert lm.generate(PROMPT, max_new_tokens=24).token_ids != expected


def test_penalties_that_are_no_numbers_are_refused():
    with pytest.raises(DynexitError, match="presence_penalty is nan"):
        Sampling(presence_penalty=float("nan"))
    with pytest.raises(DynexitError, match="frequency_penalty is '1'"):
        Sampling(frequency_penalty="1")
