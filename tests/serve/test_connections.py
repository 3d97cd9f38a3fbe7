"""Connections that say nothing, too little, too slowly or too much: others are served meanwhile."""

import json
import re
import resource
import socket
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, closing

import pytest
from test_load import LONG, idle, until

HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
UNFINISHED = {
    "nothing": b"",
    "half a line": b"GET /heal",
    "headers": b"GET /health HTTP/1.1\r\nhost: localhost\r\nx-more: ",
    "half a body": HEAD + b"content-length: 90\r\n\r\n{",
    "chunks": HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n",
}


def connect(server):
    return closing(socket.create_connection(address_of(server), timeout=30))


def address_of(server):
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


def health(server):
    with urllib.request.urlopen(f"{server.url}/health", timeout=30) as reply:
        return json.load(reply)["status"]


def ended(connection):
    """Whether the server has closed it; what it still says is read first."""
    try:
        while connection.recv(65_536):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("said", list(UNFINISHED))
def test_a_request_that_does_not_arrive_is_given_up(serving, said):
    with serving(patience=0.3) as server, connect(server) as connection:
        connection.sendall(UNFINISHED[said])
        assert ended(connection)
        until(lambda: not len(server.crowd))
        assert health(server) == "ok"


def test_bytes_that_trickle_in_win_no_time(serving):
    with serving(patience=1.0) as server, connect(server) as connection:
        connection.settimeout(0.2)
        connection.sendall(UNFINISHED["headers"])
        for _ in range(100):
            try:
                connection.sendall(b"x")
                if not connection.recv(100):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("the connection is still open")


def test_the_second_request_of_a_connection_has_its_time_as_well(serving):
    whole = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with serving(patience=1.0) as server, connect(server) as connection:
        for _ in range(2):
            connection.sendall(whole)
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200")
        connection.sendall(whole[:30])
        assert ended(connection)


def test_a_text_may_take_longer_than_a_request(serving):
    with serving(patience=0.05) as server:
        stream = server.client().completions.create(**{**LONG, "max_tokens": 300}, stream=True)
        assert [chunk.choices[0].finish_reason for chunk in stream][-1] in ("length", "stop")


def test_a_client_that_does_not_read_is_given_up(serving):
    with serving(patience=0.3, max_body=10**7) as server, connect(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        ask = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n"
        connection.sendall(ask * 400)
        until(lambda: not len(server.crowd))
        assert health(server) == "ok"


@pytest.mark.parametrize("said", ["nothing", "headers", "half a body"])
def test_idle_connections_make_room(serving, caplog, said):
    with serving(connections=8) as server, ExitStack() as stack:
        waiting = [stack.enter_context(connect(server)) for _ in range(30)]
        for connection in waiting[:8]:
            connection.sendall(UNFINISHED[said])
        for _ in range(3):
            assert health(server) == "ok"
        until(lambda: len(server.crowd) <= 8)
        assert all(ended(connection) for connection in waiting[:20])
    lines = [line for line in caplog.text.splitlines() if "want in" in line]
    assert len(lines) == 1


def test_what_has_asked_for_something_stays(serving):
    with serving(connections=1) as server:
        stream = server.client().completions.create(**LONG, stream=True)
        next(iter(stream))
        with connect(server) as connection:
            assert connection.recv(65_536).startswith(b"HTTP/1.1 503 ")
        next(iter(stream))
        stream.close()
        until(lambda: idle(server))
        assert health(server) == "ok"


@pytest.mark.parametrize("stream", [True, False])
def test_half_a_connection_is_none(server, stream):
    body = json.dumps({**LONG, "stream": stream}).encode()
    with connect(server) as connection:
        connection.sendall(HEAD + f"content-length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: server.engine.running == 1)
        connection.shutdown(socket.SHUT_WR)
        assert ended(connection)
        until(lambda: idle(server))


def test_a_body_whose_end_is_told_twice(server):
    with connect(server) as connection:
        connection.sendall(
            HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
            b"GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n"
        )
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"a content-length and a transfer-encoding: send one of them." in answer
        assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "sent",
    [
        *(b"\0\0\0", b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/x\r\n\r\n", b"x" * 100_000),
        b"GET / HTTP/1.1\r\n\r\n",
        HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nnonsense\r\n",
        HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: localhost\r\nname : x\r\n\r\n",
    ],
    ids=range(11),
)
def test_what_is_no_http(server, caplog, sent):
    with connect(server) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := connection.recv(65_536):
                answer += piece
        except ConnectionError:
            pass
    assert not answer or re.match(rb"HTTP/1.1 (400|501) ", answer)
    assert health(server) == "ok"
    assert "Traceback" not in caplog.text


SERVE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
sys.argv = ["dynexit", "serve", "--port", "0", "--method", "vanilla", "--allow-method", "vanilla"]
from dynexit.cli import main
main()
"""


@pytest.mark.slow
def test_more_connections_than_descriptors(tmp_path):
    log = tmp_path / "log"
    with log.open("wb") as told:
        process = subprocess.Popen([sys.executable, "-c", SERVE], stderr=told, stdout=told)
    try:
        until(lambda: process.poll() is not None or b"/v1" in log.read_bytes(), 120)
        url = re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())
        with ExitStack() as stack:
            for _ in range(min(600, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100)):
                stack.enter_context(closing(socket.create_connection(("127.0.0.1", int(url[1])))))
            for _ in range(3):
                assert urllib.request.urlopen(f"{url[0]}/health", timeout=10).status == 200
        assert len(log.read_text()) < 20_000
    finally:
        process.kill()
        process.wait()
