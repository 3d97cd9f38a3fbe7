"""The real client: whole answers, streams, async, and every field that is served."""

import asyncio
import json
import math
import urllib.request

import openai
import pytest
from chat_models import chat_model
from running import PROMPTS

from dynexit.decoding.controllers import methods
from dynexit.methods import lossless_methods

PROMPT = PROMPTS[0]


def alone(lm, prompt=PROMPT, method="vanilla", **options):
    return lm.generate(prompt, method, **options)


def test_a_completion_is_what_the_library_writes(lm, client):
    answer = client.completions.create(model="bundled", prompt=PROMPT, max_tokens=24, temperature=0)
    expected = alone(lm, max_new_tokens=24)
    choice = answer.choices[0]
    assert choice.text == expected.text
    assert choice.finish_reason == {"stop": "stop"}.get(expected.finish_reason, "length")
    tokens = len(lm.tokenizer.encode(PROMPT)), len(expected.token_ids)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == tokens
    assert answer.usage.total_tokens == sum(tokens)
    counts = answer.dynexit
    assert counts["method"].startswith("layerskip")
    assert counts["lossless"] is True
    assert counts["drafted"] >= counts["accepted"] > 0
    assert counts["acceptance_rate"] == pytest.approx(counts["accepted"] / counts["drafted"])
    assert counts["tokens_per_second"] > 0


@pytest.mark.parametrize("method", lossless_methods(20, second=None))
def test_every_method_streams_the_same_text(lm, client, method):
    chunks = list(
        client.completions.create(
            model="bundled",
            prompt=PROMPT,
            max_tokens=24,
            temperature=0,
            stream=True,
            extra_body={"dynexit": {"method": method}},
        )
    )
    text = "".join(chunk.choices[0].text for chunk in chunks)
    assert text == alone(lm, max_new_tokens=24).text
    assert [bool(chunk.choices[0].finish_reason) for chunk in chunks][:-1].count(True) == 0
    assert chunks[-1].choices[0].finish_reason
    assert chunks[-1].dynexit["method"] == method
    assert len({chunk.id for chunk in chunks}) == 1


def test_sampling_fields_reach_the_text(lm, client):
    rules = {
        "temperature": 0.9,
        "top_p": 0.95,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.3,
        "seed": 11,
    }
    more = {"top_k": 50, "min_p": 0.01, "repetition_penalty": 1.1}
    answer = client.completions.create(
        model="bundled", prompt=PROMPT, max_tokens=24, **rules, extra_body=more
    )
    expected = alone(lm, max_new_tokens=24, **rules, **more)
    assert answer.choices[0].text == expected.text
    assert answer.dynexit["seeds"] == [11]


def test_temperature_is_1_where_none_is_given_and_the_seed_repeats_the_text(lm, client):
    answer = client.completions.create(model="bundled", prompt=PROMPT, max_tokens=16)
    seed = answer.dynexit["seeds"][0]
    expected = alone(lm, max_new_tokens=16, temperature=1.0, seed=seed)
    assert answer.choices[0].text == expected.text


def test_several_prompts_and_choices(lm, client):
    answer = client.completions.create(
        model="bundled", prompt=list(PROMPTS[:2]), n=2, max_tokens=8, temperature=0.8, seed=3
    )
    texts = [
        alone(lm, prompt, max_new_tokens=8, temperature=0.8, seed=seed).text
        for prompt in PROMPTS[:2]
        for seed in (3, 4)
    ]
    assert [choice.text for choice in answer.choices] == texts
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    prompts = sum(len(lm.tokenizer.encode(prompt)) for prompt in PROMPTS[:2])
    assert answer.usage.prompt_tokens == prompts
    counts = answer.dynexit  # of all texts together
    assert counts["acceptance_rate"] == counts["accepted"] / counts["drafted"]
    assert counts["mean_acceptance_length"] == 1 + counts["accepted"] / counts["rounds"]
    decoded = answer.usage.completion_tokens - len(texts)  # prefill writes the first of each
    assert counts["tokens_per_second"] * counts["decode_seconds"] == pytest.approx(decoded)
    stream = client.completions.create(
        model="bundled",
        prompt=list(PROMPTS[:2]),
        n=2,
        max_tokens=8,
        temperature=0.8,
        seed=3,
        stream=True,
    )
    told = ["", "", "", ""]
    for chunk in stream:
        told[chunk.choices[0].index] += chunk.choices[0].text
    assert told == texts


def test_token_ids_are_prompts(lm, client):
    ids = [lm.tokenizer.encode(prompt) for prompt in PROMPTS[:2]]
    asked = {"model": "bundled", "max_tokens": 8, "temperature": 0}
    texts = [alone(lm, prompt, max_new_tokens=8).text for prompt in PROMPTS[:2]]
    assert client.completions.create(prompt=ids[0], **asked).choices[0].text == texts[0]
    assert [c.text for c in client.completions.create(prompt=ids, **asked).choices] == texts


def test_stop_strings_cut_the_text(lm, client):
    whole = alone(lm, max_new_tokens=40).text
    stop = whole[20:26]
    for stops in (stop, ["nowhere to be found", stop]):
        chunks = list(
            client.completions.create(
                model="bundled",
                prompt=PROMPT,
                max_tokens=40,
                temperature=0,
                stop=stops,
                stream=True,
            )
        )
        text = "".join(chunk.choices[0].text for chunk in chunks)
        assert text == whole[: whole.index(stop)]
        assert chunks[-1].choices[0].finish_reason == "stop"


def test_logprobs_are_the_targets(lm, client):
    answer = client.completions.create(
        model="bundled", prompt=PROMPT, max_tokens=12, temperature=0, logprobs=3
    )
    choice = answer.choices[0]
    chunks = [
        chunk
        for chunk in lm.stream(PROMPT, "vanilla", max_new_tokens=12, logprobs=3)
        if chunk.logprobs
    ]
    assert choice.logprobs.token_logprobs == pytest.approx([c.logprobs.logprob for c in chunks])
    assert "".join(choice.logprobs.tokens) == choice.text
    for token, offset in zip(choice.logprobs.tokens, choice.logprobs.text_offset, strict=True):
        assert choice.text[offset:].startswith(token)
    for token, logprob, top in zip(
        choice.logprobs.tokens,
        choice.logprobs.token_logprobs,
        choice.logprobs.top_logprobs,
        strict=True,
    ):
        assert len(top) == 3
        assert top[token] == max(top.values()) == logprob  # greedy
        assert sum(map(math.exp, top.values())) <= 1 + 1e-6


def test_a_stream_may_end_with_usage(client):
    chunks = list(
        client.completions.create(
            model="bundled",
            prompt=PROMPT,
            max_tokens=8,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 8
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_async_clients_at_the_same_time(lm, server):
    async def ask() -> list[str]:
        base = {"base_url": f"{server.url}/v1", "api_key": "none"}
        async with openai.AsyncOpenAI(**base) as client:

            async def one(prompt: str) -> str:
                stream = await client.completions.create(
                    model="bundled", prompt=prompt, max_tokens=16, temperature=0, stream=True
                )
                return "".join([chunk.choices[0].text async for chunk in stream])

            return await asyncio.gather(*map(one, PROMPTS))

    expected = [alone(lm, prompt, max_new_tokens=16).text for prompt in PROMPTS]
    assert asyncio.run(ask()) == expected


def test_models(client):
    assert [model.id for model in client.models.list()] == ["bundled"]
    model = client.models.retrieve("bundled")
    assert model.num_layers == 20
    assert set(model.methods) < set(methods())
    with pytest.raises(openai.NotFoundError, match="no other"):
        client.models.retrieve("gpt-4")


def test_a_trace_tells_of_every_round(lm, client):
    asked = {"method": "del", "trace": True}
    chunks = list(
        client.completions.create(
            model="bundled",
            prompt=PROMPT,
            max_tokens=32,
            temperature=0,
            stream=True,
            extra_body={"dynexit": asked},
        )
    )
    expected = alone(lm, method="del", max_new_tokens=32)
    rounds = [chunk.dynexit for chunk in chunks[:-1]]
    assert rounds[0]["prompt_ids"] == lm.tokenizer.encode(PROMPT)
    assert rounds[0]["exit_layer"] is None
    assert [t["id"] for r in rounds for t in r["tokens"] if t["id"] >= 0] == expected.token_ids
    assert "".join(t["text"] for r in rounds for t in r["tokens"]) == expected.text
    planned = [r.plan.exit_layer if r.drafted else None for r in expected.stats.rounds]
    assert [r["exit_layer"] for r in rounds[1:]] == planned
    for told, done in zip(rounds[1:], expected.stats.rounds, strict=True):
        assert (told["drafted"], told["accepted"]) == (done.drafted, done.accepted)
        drafted = [] if done.draft is None else done.draft.tokens
        assert [t["id"] for t in told["rejected"]] == drafted[done.accepted :]
        sure = [t["confidence"] for t in told["tokens"] if t["source"] == "accepted"]
        assert sure == pytest.approx(list(done.confidences)[: len(sure)] or [None] * len(sure))
    assert sum(bool(r["rejected"]) for r in rounds) > 0


def test_layers_predictions_are_those_of_decoding(lm, server):
    expected = alone(lm, max_new_tokens=24)
    prompt = lm.tokenizer.encode(PROMPT)
    body = {"tokens": prompt + expected.token_ids, "start": len(prompt), "count": 24}
    request = urllib.request.Request(
        f"{server.url}/dynexit/layers",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    told = json.load(urllib.request.urlopen(request))
    assert len(told["texts"]) == 24
    assert {len(layers) for layers in told["texts"]} == {20}
    last = [layers[-1] for layers in told["texts"]]
    assert last == [lm.tokenizer.piece(token) for token in expected.token_ids]
    first = next(lm.stream(PROMPT, "early-exit", exit_layer=3, max_new_tokens=1))
    assert told["texts"][0][2] == lm.tokenizer.piece(first.token_ids[0])
    assert all(0 < value <= 1 for layers in told["confidences"] for value in layers)


@pytest.fixture(scope="module")
def chatting(serving, tmp_path_factory):
    with serving(chat_model(tmp_path_factory.mktemp("chat")), name="chatty") as running:
        yield running


MESSAGES = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": [{"type": "text", "text": "Say something."}]},
]


def test_chat(chatting):
    lm, client = chatting.service.lm, chatting.client()
    expected = alone(
        lm, "system: You are terse.\nuser: Say something.\nassistant:", max_new_tokens=12
    )
    asked = {"model": "chatty", "messages": MESSAGES, "temperature": 0}
    for limit in ("max_tokens", "max_completion_tokens"):
        answer = client.chat.completions.create(**asked, **{limit: 12})
        assert answer.choices[0].message.content == expected.text
        assert answer.choices[0].message.role == "assistant"
        assert answer.usage.completion_tokens == len(expected.token_ids)
    chunks = list(client.chat.completions.create(**asked, max_completion_tokens=12, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected.text
    assert chunks[-1].choices[0].finish_reason == answer.choices[0].finish_reason


def test_the_clients_own_stream_helper_puts_a_message_together(chatting):
    client, asked = chatting.client(), {"model": "chatty", "messages": MESSAGES, "temperature": 0}
    whole = client.chat.completions.create(**asked, max_tokens=40).choices[0].message.content
    stop = whole[8:11]
    with client.chat.completions.stream(**asked, max_tokens=40, stop=stop) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == whole[: whole.index(stop)]
    assert final.choices[0].finish_reason == "stop"


def test_chat_logprobs(chatting):
    answer = chatting.client().chat.completions.create(
        model="chatty",
        messages=MESSAGES,
        temperature=0,
        max_tokens=8,
        logprobs=True,
        top_logprobs=2,
    )
    content = answer.choices[0].logprobs.content
    assert "".join(one.token for one in content) == answer.choices[0].message.content
    for one in content:
        assert bytes(one.bytes).decode() == one.token
        assert one.top_logprobs[0].token == one.token
        assert one.top_logprobs[0].logprob >= one.top_logprobs[1].logprob


def test_chat_without_a_template_is_refused(client):
    with pytest.raises(openai.BadRequestError, match="no chat template") as refused:
        client.chat.completions.create(model="bundled", messages=MESSAGES)
    assert refused.value.code == "no_chat_template"
