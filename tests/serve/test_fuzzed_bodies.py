"""Random bodies and random bytes: never a fault of the server's, and it goes on serving."""

import json
import socket
import urllib.request
from contextlib import closing

import pytest
from chat_models import chat_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_refusals import send

pytestmark = pytest.mark.slow
FUZZED = settings(
    max_examples=250,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
BASES = {
    "/v1/completions": {"model": "chatty", "prompt": "Hello", "max_tokens": 4},
    "/v1/chat/completions": {
        "model": "chatty",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 4,
    },
    "/dynexit/layers": {"tokens": [5, 6, 7], "start": 1},
}
FIELDS = (
    *("model", "prompt", "messages", "max_tokens", "temperature", "top_p", "top_k", "min_p", "n"),
    *("stop", "seed", "stream", "stream_options", "logprobs", "top_logprobs", "presence_penalty"),
    *("repetition_penalty", "dynexit", "tokens", "start", "count", "echo", "tools", "user", "role"),
    *("content", "method", "trace", "include_usage", "type", "text", "max_completion_tokens"),
)
METHODS = (
    "auto:int8=true",
    "del:d_max=9999999999",
    "layerskip:exit_layer=0x_",
    "x.py:Y",
    "vanilla",
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 30),
    st.floats(),
    st.text(st.characters(), max_size=12),
    st.sampled_from(("", "\ud800", "user", "text", "\x00", "<|im_start|>", "x" * 3_000, *METHODS)),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def chatting(serving, tmp_path_factory):
    lm = chat_model(tmp_path_factory.mktemp("chat"))
    with serving(lm, name="chatty", max_new_tokens=8, max_choices=4, patience=2.0) as running:
        yield running


def is_well(server):
    with urllib.request.urlopen(f"{server.url}/health", timeout=10) as reply:
        return json.load(reply)["status"] == "ok"


@pytest.mark.parametrize("path", list(BASES))
def test_random_bodies(chatting, caplog, path):
    fields = st.sampled_from(list(BASES[path])) | st.sampled_from(FIELDS)
    changes = st.dictionaries(fields, VALUES, max_size=3)
    statuses = set()

    @given(st.one_of(changes.map(lambda changed: {**BASES[path], **changed}), VALUES))
    @FUZZED
    def one_of_them(body):
        status = status_of(chatting, path, json.dumps(body).encode())
        assert status < 500, body
        assert is_well(chatting)
        statuses.add(status)

    one_of_them()
    assert {200, 400} <= statuses
    assert "Traceback" not in caplog.text


def status_of(server, path, body):
    """A stream's reply is no JSON, so it is not read."""
    try:
        return send(server, body, path)[0]
    except json.JSONDecodeError:
        return 200


@pytest.mark.parametrize("path", list(BASES))
def test_random_bytes(chatting, caplog, path):
    body = json.dumps(BASES[path]).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    whole = head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body
    places = st.integers(0, len(whole) - 1)
    edits = st.lists(st.tuples(places, st.integers(0, 9), st.binary(max_size=6)), max_size=4)

    @given(edits)
    @FUZZED
    def one_of_them(edits):
        sent = whole
        for place, cut, added in edits:
            sent = sent[:place] + added + sent[place + cut :]
        answer = answer_to(chatting, sent)
        assert not answer.startswith((b"HTTP/1.1 500", b"HTTP/1.1 502", b"HTTP/1.1 504")), sent
        assert is_well(chatting)

    one_of_them()
    assert "Traceback" not in caplog.text


def answer_to(server, sent):
    host, port = server.url.removeprefix("http://").split(":")
    with closing(socket.create_connection((host, int(port)), timeout=30)) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(65_536)
        except ConnectionError:
            return b""
