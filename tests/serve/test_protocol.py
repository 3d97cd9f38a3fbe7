"""What clients send besides: null and idle fields, their own history, prompts to be scored."""

import json
import logging
import re
import urllib.error
import urllib.request
from pathlib import Path

import openai
import pytest
from running import PROMPTS
from test_load import until
from test_openai import MESSAGES, chat_model
from tokenizers import Tokenizer

import dynexit
from dynexit.decoding.loop import finish
from dynexit.methods import lossless_methods
from dynexit.serve.schema import ChatRequest, CompletionRequest

ASKED = {"model": "bundled", "prompt": PROMPTS[0], "max_tokens": 12, "temperature": 0}
IDLE = {
    "n": 1,
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "response_format": {"type": "text"},
    "logit_bias": {},
    "modalities": ["text"],
    "store": False,
    "metadata": {"a": "b"},
    "service_tier": "auto",
    "stop": [],
    "stop_token_ids": [],
    "user": "me",
    "chat_template_kwargs": {},
}
METHODS = lossless_methods(20, second=None)


@pytest.fixture(scope="module")
def chatting(serving, tmp_path_factory):
    with serving(chat_model(tmp_path_factory.mktemp("chat")), name="bundled") as running:
        yield running


def post(url, body, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def sent(server, path, body):
    return post(f"{server.url}/v1/{path}", body, **{"content-type": "application/json"})


def test_null_is_as_good_as_nothing(chatting):
    plain = sent(chatting, "completions", ASKED)[1]["choices"]
    nulls = dict.fromkeys(CompletionRequest.model_fields)
    status, answer = sent(chatting, "completions", {**nulls, **ASKED})
    assert (status, answer["choices"]) == (200, plain)
    chat = {"model": "bundled", "messages": MESSAGES, "max_tokens": 8}
    for more in (dict.fromkeys(ChatRequest.model_fields), IDLE):
        status, answer = sent(chatting, "chat/completions", {**more, **chat, "temperature": 0})
        assert status == 200, answer
        assert len(answer["choices"]) == 1


def test_a_reply_goes_back_into_the_history(chatting):
    client, lm = chatting.client(), chatting.service.lm
    asked = {"model": "bundled", "temperature": 0, "max_tokens": 8}
    first = client.chat.completions.create(messages=MESSAGES, **asked).choices[0].message
    for reply in (first, first.model_dump(), first.to_dict()):
        history = [*MESSAGES, reply, {"role": "user", "content": "Go on."}]
        answer = client.chat.completions.create(messages=history, **asked)
        said = f"user: Say something.\nassistant: {first.content}\nuser: Go on.\nassistant:"
        expected = lm.generate("system: You are terse.\n" + said, max_new_tokens=8)
        assert answer.choices[0].message.content == expected.text


def rendered(server, messages, **more):
    """The prompt that messages became, by asking for its tokens."""
    body = {"model": "bundled", "messages": messages, "max_tokens": 1, "temperature": 0, **more}
    body |= {"stream": True, "dynexit": {"trace": True}}
    request = urllib.request.Request(
        f"{server.url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    lines = urllib.request.urlopen(request).read().decode().splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    (ids,) = [e["dynexit"]["prompt_ids"] for e in events if (e["dynexit"] or {}).get("prompt_ids")]
    return server.service.lm.tokenizer.backend.decode(ids, skip_special_tokens=False)


TOOLS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}"
    "<{{ c.function.name }} {{ c.function.arguments.city }}>{% endfor %}"
    "{% if m.tool_call_id %} ({{ m.tool_call_id }}){% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ style | default('assistant') }}:{% endif %}"
)


@pytest.fixture(scope="module")
def with_tools(serving, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    chat_model(folder)
    (folder / "chat_template.jinja").write_text(TOOLS)
    model = dynexit.load(folder, device="cpu", check=False)
    with serving(model, name="bundled") as running:
        yield running


def test_turns_of_tools_reach_the_template(with_tools):
    called = {"name": "weather", "arguments": '{"city": "Bern"}'}
    call = {"id": "call_1", "type": "function", "function": called}
    messages = [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "no"}]},
        {"role": "assistant", "refusal": "I may not say."},
        {"role": "assistant", "content": None},
    ]
    expected = (
        "user: Rain?\nassistant: <weather Bern>\ntool: no (call_1)\n"
        "assistant: I may not say.\nassistant: \nassistant:"
    )
    assert rendered(with_tools, messages) == expected


def test_variables_of_the_template(with_tools):
    said = rendered(with_tools, MESSAGES[1:], chat_template_kwargs={"style": "pirate"})
    assert said == "user: Say something.\npirate:"
    status, answer = sent(
        with_tools,
        "chat/completions",
        {"model": "bundled", "messages": MESSAGES, "chat_template_kwargs": {"chat_template": "x"}},
    )
    assert (status, "'chat_template'" in answer["error"]["message"]) == (400, True)


def test_the_last_message_is_continued(with_tools):
    messages = [*MESSAGES[1:], {"role": "assistant", "content": "Well, "}]
    assert rendered(with_tools, messages, continue_final_message=True).endswith("assistant: Well, ")
    assert rendered(with_tools, messages, add_generation_prompt=False).endswith("Well, \n")
    both = {"continue_final_message": True, "add_generation_prompt": True}
    status, answer = sent(
        with_tools, "chat/completions", {"model": "bundled", "messages": messages, **both}
    )
    assert (status, "set only one" in answer["error"]["message"]) == (400, True)


HOSTILE = [{"role": "user", "content": "a<|endoftext|>b"}]


def test_special_tokens_in_messages_are_text(chatting, serving):
    backend = chatting.service.lm.tokenizer.backend
    end = backend.token_to_id("<|endoftext|>")
    plain = Tokenizer.from_str(backend.to_str())
    plain.encode_special_tokens = True

    def asked(server):
        client = server.client()
        answer = client.chat.completions.create(model="bundled", messages=HOSTILE, max_tokens=1)
        return answer.usage.prompt_tokens

    assert rendered(chatting, HOSTILE) == "user: a<|endoftext|>b\nassistant:"
    assert end not in chatting.service.lm.tokenizer.encode_chat(HOSTILE)
    with serving(chatting.service.lm, name="bundled", trust_messages=True) as trusting:
        as_text = len(chatting.service.lm.tokenizer.encode_chat(HOSTILE))
        as_token = as_text - len(plain.encode("<|endoftext|>").ids) + 1
        assert (asked(chatting), asked(trusting)) == (as_text, as_token)


@pytest.mark.parametrize("method", METHODS)
def test_limits_are_those_of_the_library(lm, client, method):
    ids = lm.generate(PROMPTS[0], "vanilla", max_new_tokens=24, ignore_eos=True).token_ids
    stop = ids[6]
    expected = {
        "ignore_eos": {"ignore_eos": True},
        "min_tokens": {"min_new_tokens": 10, "stop_token_ids": [stop]},
        "stop_token_ids": {"stop_token_ids": [stop]},
    }
    more = {
        "ignore_eos": {"ignore_eos": True},
        "min_tokens": {"min_tokens": 10, "stop_token_ids": [stop]},
        "stop_token_ids": {"stop_token_ids": [stop]},
    }
    for case, extra in more.items():
        answer = client.completions.create(
            **{**ASKED, "max_tokens": 24}, extra_body={**extra, "dynexit": {"method": method}}
        )
        alone = lm.generate(PROMPTS[0], "vanilla", max_new_tokens=24, **expected[case])
        assert answer.choices[0].text == alone.text
        assert answer.usage.completion_tokens == len(alone.token_ids)
        least = {"ignore_eos": 24, "min_tokens": 10, "stop_token_ids": 0}[case]
        assert answer.usage.completion_tokens >= least


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


def test_the_checkpoints_own_sampling_on_a_switch(lm, serving, tmp_path):
    for file in Path(dynexit.__file__).parent.joinpath("bundled").iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "generation_config.json").unlink()
    own = {"temperature": 0.6, "top_k": 7, "top_p": 0.9, "eos_token_id": 0, "do_sample": True}
    asked = {"model": "bundled", "prompt": PROMPTS[0], "max_tokens": 16, "seed": 4}
    for told, rule in (
        (own, {"temperature": 0.6, "top_k": 7, "top_p": 0.9}),
        ({**own, "do_sample": False}, {"temperature": 0.0, "top_k": 7, "top_p": 0.9}),
        ({"eos_token_id": 0}, {"temperature": 1.0}),
    ):
        (tmp_path / "generation_config.json").write_text(json.dumps(told))
        model = dynexit.load(tmp_path, device="cpu", check=False)
        with serving(model, name="bundled", generation_config=True) as server:
            text = server.client().completions.create(**asked).choices[0].text
            assert text == lm.generate(PROMPTS[0], max_new_tokens=16, seed=4, **rule).text
            hot = server.client().completions.create(**asked, temperature=1.3).choices[0].text
            rule = {**rule, "temperature": 1.3}
            assert hot == lm.generate(PROMPTS[0], max_new_tokens=16, seed=4, **rule).text
    (tmp_path / "generation_config.json").write_text('{"top_p": "much", "eos_token_id": 0}')
    model = dynexit.load(tmp_path, device="cpu", check=False)
    with pytest.raises(dynexit.DynexitError, match=r"generation_config.json: top_p is 'much'"):
        serving(model, generation_config=True).__enter__()


def asked_from(server, origin, method="POST", path="/v1/models"):
    """Headers of the answer to a browser's question whether a page may ask."""
    headers = {"origin": origin, "access-control-request-method": method}
    headers["access-control-request-headers"] = "authorization,content-type"
    request = urllib.request.Request(server.url + path, headers=headers, method="OPTIONS")
    try:
        return urllib.request.urlopen(request).headers
    except urllib.error.HTTPError as refused:
        return refused.headers


def test_pages_of_other_origins_on_a_switch(serving, server):
    allowed = "access-control-allow-origin"
    assert allowed not in asked_from(server, "http://localhost:3000")
    with serving(cors=["http://localhost:3000"], api_key="secret") as open_server:
        assert asked_from(open_server, "http://localhost:3000")[allowed] == "http://localhost:3000"
        assert allowed not in asked_from(open_server, "http://evil.example")
        request = urllib.request.Request(
            f"{open_server.url}/v1/models",
            headers={"origin": "http://localhost:3000", "authorization": "Bearer secret"},
        )
        assert urllib.request.urlopen(request).headers[allowed] == "http://localhost:3000"


@pytest.mark.parametrize("path", ["/health", "/metrics", "/", "/v1/models"])
def test_head_is_get_without_a_body(server, path):
    request = urllib.request.Request(server.url + path, method="HEAD")
    with urllib.request.urlopen(request) as reply:
        assert (reply.status, reply.read()) == (200, b"")
        assert reply.headers["content-length"] != "0"


def test_a_body_that_says_nothing_of_its_type_is_told_which_header(server):
    for headers in ({}, {"content-type": "text/plain"}):
        status, answer = post(f"{server.url}/v1/completions", ASKED, **headers)
        assert status == 400
        assert "content-type: application/json" in answer["error"]["message"]


def test_every_request_leaves_a_line(server, caplog):
    client = server.client()
    with caplog.at_level(logging.INFO, "dynexit.serve"):
        raw = client.completions.with_raw_response.create(**ASKED)
        list(client.completions.create(**ASKED, stream=True))
        with pytest.raises(openai.BadRequestError):
            client.completions.create(**{**ASKED, "prompt": ""})
        until(lambda: len(caplog.records) >= 3)  # a line follows its reply
    lines = [one.getMessage() for one in caplog.records if one.name == "dynexit.serve"]
    answer = raw.parse()
    assert answer.id == f"cmpl-{raw.headers['x-request-id']}"
    prompt, tokens = answer.usage.prompt_tokens, answer.usage.completion_tokens
    first, second, third = lines
    assert re.match(r'127.0.0.1 "POST /v1/completions" 200 \d+\.\d{3} s, ', first)
    assert f", {prompt} + {tokens} tokens, id {raw.headers['x-request-id']}" in first
    assert f", {prompt} + {tokens} tokens, id " in second
    assert '"POST /v1/completions" 400 ' in third
    assert "tokens" not in third
    assert PROMPTS[0] not in "".join(lines)
