"""Prompts that are echoed or scored, and the names of tokens in log-probabilities."""

import pytest
from asking import ASKED
from running import PROMPTS

import dynexit
from dynexit.decoding.loop import finish


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_is_echoed(client, stream):
    prompts = list(PROMPTS[:2])
    asked = {**ASKED, "prompt": prompts, "n": 2, "temperature": 0.8, "seed": 3}
    plain = [one.text for one in client.completions.create(**asked).choices]
    texts = [""] * 4
    answer = client.completions.create(**asked, echo=True, stream=stream)
    for part in answer if stream else [answer]:
        for one in part.choices:
            texts[one.index] += one.text
    expected = [prompts[at // 2] + text for at, text in enumerate(plain)]
    assert texts == expected


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("limit", [0, 2])
def test_a_prompt_is_scored(lm, client, stream, limit):
    ids = lm.tokenizer.encode(PROMPTS[1])
    asked = {**ASKED, "max_tokens": limit, "prompt": ids}
    answer = client.completions.create(**asked, echo=True, logprobs=2, stream=stream)
    told = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    text = ""
    for part in answer if stream else [answer]:
        text += part.choices[0].text
        for name, values in told.items():
            said = part.choices[0].logprobs
            values += getattr(said, name) if said else []
    assert len(told["tokens"]) == len(ids) + limit
    assert text.startswith(PROMPTS[1])
    assert "".join(told["tokens"]) == text
    assert told["token_logprobs"][0] is told["top_logprobs"][0] is None
    for token, logprob, top, at in zip(*told.values(), strict=True):
        assert text[at:].startswith(token)
        assert top is None or top[token] == logprob
    alone = lm.sequence(PROMPTS[1], max_new_tokens=0, logprobs=2, prompt_logprobs=True)
    finish(alone)
    own = [one.logprob for one in alone.prompt_logprobs]
    assert told["token_logprobs"][1 : len(ids)] == pytest.approx(own)


def test_nothing_but_the_prompt_is_read_where_no_token_is_wanted(client):
    answer = client.completions.create(**{**ASKED, "max_tokens": 0})
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("", "length")
    assert answer.usage.completion_tokens == 0


@pytest.fixture(scope="module")
def of_bytes(serving, checkpoint):
    """A model with random weights, whose likeliest tokens are parts of characters."""
    with serving(dynexit.load(checkpoint, device="cpu", check=False), name="bundled") as running:
        yield running


def test_no_token_is_lost_where_several_are_part_of_characters(of_bytes):
    rule = {"temperature": 1.5, "seed": 5}
    said = (
        of_bytes.client().completions.create(**{**ASKED, **rule}, logprobs=20).choices[0].logprobs
    )
    sequence = of_bytes.service.lm.sequence(
        PROMPTS[0], "vanilla", max_new_tokens=12, logprobs=20, **rule
    )
    finish(sequence)
    assert sum(name.startswith("bytes:\\x") for top in said.top_logprobs for name in top) > 9
    expected = [chunk.logprobs for chunk in sequence.chunks if chunk.logprobs]
    for token, logprob, top, one in zip(
        said.tokens, said.token_logprobs, said.top_logprobs, expected, strict=True
    ):
        values = dict(one.top) | {one.token: one.logprob}
        assert list(top.values()) == pytest.approx(sorted(values.values(), reverse=True), abs=1e-4)
        assert top[token] == logprob


def test_tokens_as_ids(lm, client):
    answer = client.completions.create(
        **ASKED, logprobs=3, extra_body={"return_tokens_as_token_ids": True}
    )
    ids = lm.generate(PROMPTS[0], max_new_tokens=12).token_ids
    assert answer.choices[0].logprobs.tokens == [f"token_id:{token}" for token in ids]
    assert all(name.startswith("token_id:") for name in answer.choices[0].logprobs.top_logprobs[0])


def test_bytes_of_part_of_a_character(of_bytes):
    names, backend = of_bytes.service.names, of_bytes.service.lm.tokenizer.backend
    text = "é😀\ufffd "
    pieces = [names.bytes_of(token) for token in backend.encode(text).ids]
    assert b"".join(pieces).decode() == text
    assert [names.name(token) for token in backend.encode("é").ids] in (
        ["é"], ["bytes:\\xc3", "bytes:\\xa9"]
    )  # fmt: skip
