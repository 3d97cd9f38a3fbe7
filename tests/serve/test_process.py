"""The command as a process: it says where it is, serves, and ends when it is told to."""

import os
import re
import signal
import subprocess
import sys
import threading

import openai
import pytest
from running import METHOD

SECRET = "the quick brown fox and its secret"


@pytest.fixture
def process(monkeypatch):
    """`dynexit serve` on a free port; its address and what it has said so far."""
    command = [sys.executable, "-m", "dynexit", "serve", "--port", "0", "--grace", "3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DYNEXIT_API_KEY": "secret-key"}
    running = subprocess.Popen(
        [*command, "--method", METHOD],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    said = []
    for line in running.stdout:
        said.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            break
    reader = threading.Thread(target=lambda: said.extend(running.stdout))
    reader.start()
    yield running, found[0], said, reader
    running.kill()
    running.wait()


def test_a_stream_that_runs_when_the_server_is_told_to_end(process):
    running, address, said, reader = process
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
    reader.join(timeout=10)
    log = "".join(said)
    assert "Traceback" not in log
    assert "POST /v1/completions" in log
    assert SECRET not in log
    assert "secret-key" not in log


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--running", "0"], "running is 0"),
        (["--method", "nothing"], "'nothing' is not known"),
        (["--port", "99999"], "cannot listen on 127.0.0.1:99999"),
        (["--host", "203.0.113.7"], "cannot listen on 203.0.113.7"),
        (["--log-level", "loud"], "log level 'loud'"),
        (["--api-key", ""], "the API key is empty"),
    ],
)
def test_bad_options_are_one_sentence(dynexit, arguments, sentence):
    code, _, err = dynexit("serve", *arguments)
    assert code == 2
    assert sentence in err
    assert err.count("\n") == 1
