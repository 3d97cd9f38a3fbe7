"""The command as a process: it says where it is, serves, and ends when it is told to."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager

import openai
import pytest
from running import METHOD

SECRET = "the quick brown fox and its secret"


@contextmanager
def started(*arguments):
    """A process that serves on a free port: itself, its address, and what it has said so far."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DYNEXIT_API_KEY": "secret-key"}
    running = subprocess.Popen(
        [sys.executable, "-m", "dynexit", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        # A shell's background jobs ignore the interrupt, and so would this one, their descendant.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    said = []
    for line in running.stdout:
        said.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            break
    reader = threading.Thread(target=lambda: said.extend(running.stdout))
    reader.start()
    try:
        yield running, found[0], said
    finally:
        running.kill()
        running.wait()
        reader.join(timeout=10)


def test_the_demo_serves_its_page_until_it_is_interrupted():
    with started("demo", "--no-browser") as (running, address, said):
        assert b"dynexit" in urllib.request.urlopen(address).read()
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=30) in (0, 130, -signal.SIGINT)
    assert "Traceback" not in "".join(said)


def test_a_stream_that_runs_when_the_server_is_told_to_end():
    with started("serve", "--grace", "3", "--method", METHOD) as (running, address, said):
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="secret-key", max_retries=0)
        asked = {"model": "bundled", "prompt": SECRET, "temperature": 0.9, "seed": 1}
        assert client.completions.create(**asked, max_tokens=8).usage.completion_tokens == 8
        short = client.completions.create(**asked, max_tokens=24, stream=True)
        long = client.completions.create(**asked, max_tokens=1_900, stream=True, n=2)
        for stream in (short, long):
            next(iter(stream))
        running.send_signal(signal.SIGTERM)
        assert [chunk.choices[0].finish_reason for chunk in short][-1] in ("length", "stop")
        with pytest.raises(openai.APIError, match="shutting down"):
            list(long)
        assert running.wait(timeout=30) in (0, -signal.SIGTERM)  # uvicorn passes the signal on
    log = "".join(said)
    assert "Traceback" not in log
    assert "POST /v1/completions" in log
    assert SECRET not in log
    assert "secret-key" not in log


def test_log_lines_are_objects_of_json_where_they_are_asked_for():
    with started("serve", "--log-format", "json", "--method", METHOD) as (running, address, said):
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="secret-key")
        reply = client.completions.with_raw_response.create(
            model="bundled", prompt=SECRET, max_tokens=4
        )
        running.send_signal(signal.SIGTERM)
        running.wait(timeout=30)
    lines = [json.loads(line) for line in said if line.startswith("{")]
    assert all({"time", "level"} <= line.keys() for line in lines)
    (told,) = [line for line in lines if line.get("path") == "/v1/completions"]
    assert told["request_id"] == reply.headers["x-request-id"]
    assert (told["status"], told["tokens"], told["method"]) == (200, 4, "POST")
    assert any("message" in line for line in lines)  # uvicorn's own


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--running", "0"], "running is 0"),
        (["--method", "nothing"], "'nothing' is not known"),
        (["--allow-method", "nothing"], "'nothing' is not known"),
        (["--allow-method", "del:d_max=999"], "d_max is 999"),
        (["--port", "99999"], "cannot listen on 127.0.0.1:99999"),
        (["--host", "203.0.113.7"], "cannot listen on 203.0.113.7"),
        (["--log-level", "loud"], "log level 'loud'"),
        (["--log-format", "xml"], "log format 'xml' is not text or json"),
        (["--api-key", ""], "the API key is empty"),
    ],
)
def test_bad_options_are_one_sentence(dynexit, arguments, sentence):
    code, _, err = dynexit("serve", *arguments)
    assert code == 2
    assert sentence in err
    assert err.count("\n") == 1
