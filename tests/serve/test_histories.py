"""Conversations as clients send them: null and idle fields, their own history, turns of tools."""

import json
import urllib.request

import pytest
from asking import ASKED, sent
from test_openai import MESSAGES, chat_model
from tokenizers import Tokenizer

import dynexit
from dynexit.serve.schema import ChatRequest, CompletionRequest

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
TOOLS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}"
    "<{{ c.function.name }} {{ c.function.arguments.city }}>{% endfor %}"
    "{% if m.tool_call_id %} ({{ m.tool_call_id }}){% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ style | default('assistant') }}:{% endif %}"
)
HOSTILE = [{"role": "user", "content": "a<|endoftext|>b"}]


@pytest.fixture(scope="module")
def chatting(serving, tmp_path_factory):
    with serving(chat_model(tmp_path_factory.mktemp("chat")), name="bundled") as running:
        yield running


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
