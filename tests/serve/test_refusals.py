"""What is refused: by status, in OpenAI's format, naming the field."""

import json
import re
import socket
import urllib.error
import urllib.request
from urllib.parse import unquote

import openai
import pytest
from pydantic import ValidationError
from running import METHOD

from dynexit.serve.schema import ChatRequest, CompletionRequest, LayersRequest

BASE = {"model": "bundled", "prompt": "Hello", "max_tokens": 4}


def send(server, body, path="/v1/completions", **headers):
    """Status and JSON of a POST."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", **headers}
    request = urllib.request.Request(server.url + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


@pytest.mark.parametrize(
    ("change", "status", "field", "sentence"),
    [
        ({"prompt": None}, 400, "prompt", "prompt"),
        ({"prompt": ""}, 400, None, "the prompt is empty"),
        ({"prompt": []}, 400, "prompt", "prompt"),
        ({"prompt": "\ud800"}, 400, "prompt", "prompt"),
        ({"prompt": [99_999]}, 400, None, "token id 99999 is outside the vocabulary"),
        ({"prompt": "x " * 9_000}, 400, None, "shorten the prompt"),
        ({"max_tokens": -1}, 400, "max_tokens", "must be at least 0"),
        ({"max_tokens": 10**9}, 400, None, "at most 4096"),
        ({"temperature": -1}, 400, "temperature", "must be at least 0"),
        ({"temperature": "hot"}, 400, "temperature", "must be a number"),
        ({"top_p": 0}, 400, "top_p", "must be above 0"),
        ({"presence_penalty": 3}, 400, "presence_penalty", "must be at most 2"),
        ({"logit_bias": {"1": 500}}, 400, "logit_bias", "must be at most 100"),
        ({"echo": 1}, 400, "echo", "must be true or false"),
        ({"tools": [{"type": "function"}]}, 400, "tools", "tools is not supported"),
        ({"tool_choice": "required"}, 400, "tool_choice", "must be 'none' or 'auto'"),
        ({"response_format": {"type": "x"}}, 400, "response_format", "response_format"),
        ({"best_of": 3}, 400, "best_of", "best_of is not supported"),
        ({"store": True}, 400, "store", "store is not supported"),
        ({"min_tokens": 5}, 400, "min_tokens", "min_tokens is 5, above the 4"),
        ({"min_tokens": -1}, 400, "min_tokens", "must be at least 0"),
        ({"stop_token_ids": [99_999]}, 400, None, "token id 99999 is outside the vocabulary"),
        ({"suffix": "x"}, 400, "suffix", "suffix is not supported"),
        ({"n": 1000}, 400, "n", "at most 16"),
        ({"logprobs": 99}, 400, "logprobs", "must be at most 20"),
        ({"stop": [""]}, 400, None, "a stop string is empty"),
        ({"seed": 2**70}, 400, "seed", "seed"),
        ({"repetition_penalty": 1e999}, 400, "repetition_penalty", "repetition_penalty"),
        ({"model": "other"}, 404, "model", "'bundled' and no other"),
        ({"dynexit": {"method": "nothing"}}, 400, "dynexit", "does not run the method 'nothing'"),
        ({"dynexit": {"method": "/etc/evil.py:X"}}, 400, "dynexit", "own methods only"),
        ({"dynexit": {"method": "./evil.py:X:a=1"}}, 400, "dynexit", "own methods only"),
        ({"dynexit": {"method": "file:///etc/evil.py:X"}}, 400, "dynexit", "own methods only"),
        ({"dynexit": {"method": "../../etc/passwd"}}, 400, "dynexit", "does not run"),
        ({"model": "/etc/passwd"}, 404, "model", "'bundled' and no other"),
        ({"dynexit": {"method": "two-model"}}, 400, "dynexit", "does not run"),
        ({"dynexit": {"method": "layerskip:exit_layer=99"}}, 400, None, "exit layer 99"),
        ({"dynexit": {"method": "layerskip:exit_layer=x"}}, 400, None, "must be a whole number"),
        ({"dynexit": {"method": "auto:lookup=["}}, 400, None, "cannot be read"),
        ({"dynexit": {"nothing": 1}}, 400, "dynexit", "dynexit.nothing is not supported"),
    ],
)
def test_bad_fields(server, change, status, field, sentence):
    got, body = send(server, {**BASE, **change})
    assert got == status, body
    assert sentence in body["error"]["message"]
    assert body["error"]["param"] == field
    assert body["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("kind", "field", "items"),
    [
        *((CompletionRequest, "prompt", items) for items in ([1.5], [[]], ["x", 1], [[1], ["x"]])),
        *((ChatRequest, "messages", items) for items in ([{}], [1], [{"role": "user"}])),
        (ChatRequest, "messages", [{"role": "user", "content": [{}] * 999}]),
        (LayersRequest, "tokens", [-1]),
    ],
)
def test_a_list_of_faults_is_not_told_one_by_one(kind, field, items):
    with pytest.raises(ValidationError) as refused:
        kind.model_validate({"model": "bundled", "start": 1, field: items * 999})
    assert refused.value.error_count() < 20


TOO_MUCH = (
    "del:d_max=100000000",
    "layerskip:speculation_length=100000000",
    "auto:int8=true,draft_vocabulary=0",
    "draft-verify:gamma=.inf",
)


@pytest.mark.parametrize("method", [*TOO_MUCH, "layerskip:exit_layer=0x_", "del:d_max=2026-99-99"])
def test_settings_out_of_bounds_or_unreadable(server, method):
    status, body = send(server, {**BASE, "dynexit": {"method": method}})
    assert status == 400
    assert re.search("it must be a|cannot be read", body["error"]["message"])


def test_only_methods_that_are_allowed(serving):
    narrow = "layerskip:exit_layer=2,speculation_length=2"
    with serving(methods=("vanilla", "finite-state", narrow)) as server:
        for method in (None, METHOD, "vanilla", "finite-state:exit_layer=2", narrow):
            assert send(server, {**BASE, "dynexit": {"method": method}})[0] == 200, method
        for method in ("layerskip", "auto", "del:d_max=2", "layerskip:exit_layer=2", "x", "x:y=z"):
            status, body = send(server, {**BASE, "dynexit": {"method": method}})
            assert status == 400
            assert body["error"]["message"] == (
                f"this server does not run the method {method!r}: it runs {METHOD}, vanilla, "
                f"finite-state, {narrow}."
            )
        card = json.load(urllib.request.urlopen(f"{server.url}/v1/models"))["data"][0]
        assert card["methods"] == ["vanilla", "finite-state", narrow]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[" * 50_000, b"null", b"[]", b'"text"', b'{"model": NaN}'],
    ids=["empty", "open", "no text", "deep", "null", "list", "string", "nan"],
)
def test_bodies_that_are_no_request(server, body):
    status, answer = send(server, body)
    assert status == 400
    assert answer["error"]["message"].endswith(".")


def test_bodies_that_are_too_long(server):
    status, answer = send(server, {**BASE, "prompt": "x" * 1_100_000})
    assert status == 413
    assert "1000000 bytes" in answer["error"]["message"]


def test_a_body_without_a_length_is_counted_as_it_comes(server):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        try:
            for _ in range(40):
                connection.sendall(piece)
        except OSError:
            pass  # refused before all was sent
        assert b" 413 " in connection.recv(200)


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/nothing", "/v2/completions", "/etc/passwd", "/../../etc/passwd"),
        *("/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd"),
    ],
)
def test_unknown_paths(server, path):
    status, answer = send(server, BASE, path)
    assert status == 404
    assert unquote(path) in answer["error"]["message"]


@pytest.mark.parametrize("path", ["/page/../app.py", "/page//etc/passwd", "/page/..%2fapp.py"])
def test_files_that_are_not_the_pages(server, path):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(server.url + path)
    assert refused.value.code == 404


def test_the_wrong_verb(server):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{server.url}/v1/completions")
    assert refused.value.code == 405
    assert json.load(refused.value)["error"]["message"]


def test_chat_messages_are_checked(server):
    for messages in ([], [{"role": "tool", "content": "x"}], [{"role": "user"}], "hello"):
        status, answer = send(
            server, {"model": "bundled", "messages": messages}, "/v1/chat/completions"
        )
        assert status == 400
        assert answer["error"]["param"] == "messages"


def test_a_body_that_is_no_object_is_told_so(server):
    status, answer = send(server, [])
    assert (status, answer["error"]["message"]) == (400, "the body must be a JSON object.")


def test_layers_are_asked_for_within_the_text(server):
    for body, sentence in (
        ({"tokens": [1, 2], "start": 2}, "past the text"),
        ({"tokens": [1, 9_999], "start": 1}, "outside the vocabulary"),
        ({"tokens": [1] * 5_000, "start": 1}, "the context holds 2048"),
        ({"tokens": [1, 2], "start": 1, "count": 65}, "must be at most 64"),
    ):
        status, answer = send(server, body, "/dynexit/layers")
        assert status == 400
        assert sentence in answer["error"]["message"]


def test_the_key_is_asked_for(serving):
    with serving(api_key="söcret") as server:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic x"}):
            status, answer = send(server, BASE, **headers)
            assert status == 401
            assert answer["error"]["code"] == "invalid_api_key"
            assert send(server, {"tokens": [1, 2], "start": 1}, "/dynexit/layers")[0] == 401
        with pytest.raises(openai.AuthenticationError):
            server.client("wrong").models.list()
        for open_path in ("/health", "/metrics", "/"):
            assert urllib.request.urlopen(server.url + open_path).status == 200


def test_the_right_key_is_let_in(serving):
    with serving(api_key="secret") as server:
        assert server.client("secret").models.list().data[0].id == "bundled"
        assert (
            server.client("secret")
            .completions.create(**BASE, temperature=0)
            .usage.completion_tokens
            == 4
        )
