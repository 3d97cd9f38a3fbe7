"""Commands under torchrun: what they write, and how they end."""

import json
import os
import signal
import time

import openai
import pytest
from launched import launched

from dynexit import load

LONG = ("Once upon a time", "-n", 1_900, "--ignore-eos", "--dtype", "fp32", "--method", "vanilla")
ENDS = 10  # seconds in which the others end


def plain(prompt, **options):
    """The text of one process, by the same layers."""
    whole = load(device="cpu", runtime="eager", dtype="fp32", check=False, learned=False)
    return whole.generate(prompt, "vanilla", **options).text


def test_a_text_and_the_end_by_the_death_of_a_helper():
    prompt = "Once upon a time"
    with launched(2, "serve", "--dtype", "fp32", "--port", 0, "--method", "layerskip") as running:
        address = running.until(r"http://127\.0\.0\.1:\d+")[0]
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        asked = {"model": "bundled", "prompt": prompt}
        reply = client.completions.create(**asked, max_tokens=24, temperature=0)
        assert reply.choices[0].text == plain(prompt, max_new_tokens=24)
        stream = client.completions.create(**asked, max_tokens=1_900, stream=True)
        next(iter(stream))
        began = time.monotonic()
        running.rank(1).kill()
        assert running.wait() == 1
        assert time.monotonic() - began < ENDS
    assert running.sentences() == ["error: process 1 of 2 has died; so all of them end."]


@pytest.mark.slow
def test_the_end_by_the_death_of_rank_0():
    with launched(2, "generate", *LONG) as running:
        running.until("(?s)time.{20}")
        began = time.monotonic()
        running.rank(0).kill()
        assert running.wait() == 1
        assert time.monotonic() - began < ENDS
    assert running.sentences() == ["error: process 0 of 2 has died; so all of them end."]


@pytest.mark.slow
def test_an_interrupt_ends_all_processes_with_one_line():
    with launched(2, "generate", *LONG) as running:
        running.until("(?s)time.{20}")
        os.killpg(running.process.pid, signal.SIGINT)  # as a terminal does
        running.wait()
    said = running.err.decode()
    assert "vanilla: " in said
    assert "(interrupted)" in said
    assert "dynexit" not in said.partition("Traceback")[2]  # torchrun writes one of its own


@pytest.mark.slow
def test_a_server_that_is_told_to_end():
    with launched(2, "serve", "--port", 0, "--method", "vanilla", "--grace", 5) as running:
        address = running.until(r"http://127\.0\.0\.1:\d+")[0]
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        asked = {"model": "bundled", "prompt": "Once upon a time", "stream": True}
        stream = client.completions.create(**asked, max_tokens=24)
        next(iter(stream))
        running.process.send_signal(signal.SIGTERM)
        assert [chunk.choices[0].finish_reason for chunk in stream][-1] in ("length", "stop")
        running.wait(30)
    assert running.sentences() == []
    assert "dynexit" not in running.err.decode().partition("Traceback")[2]


@pytest.mark.slow
def test_a_benchmark_in_two_processes(tmp_path):
    prompts = "Once upon a time", "1 + 1 ="
    rows = "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)
    (tmp_path / "few.jsonl").write_text(rows)
    with launched(
        *(2, "bench", "--task", f"jsonl:{tmp_path / 'few.jsonl'}", "--dtype", "fp32", "-n", 24),
        *("--method", "layerskip", "--method", "auto", "--out", tmp_path / "records.jsonl"),
    ) as running:
        assert running.wait() == 0
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    records = [one for one in map(json.loads, lines) if "token_ids" in one]
    assert len(records) == 6
    assert {one["environment"]["runtime"] for one in records} == {"eager, 2 ranks"}
    texts = {plain(prompt, max_new_tokens=24) for prompt in prompts}
    for method in ("vanilla", "layerskip", "auto"):
        assert {one["text"] for one in records if one["method"] == method} == texts


@pytest.mark.slow
def test_four_processes_and_what_info_says(folders):
    with launched(4, "info", folders["llama"], "--dtype", "fp32", "--json") as running:
        assert running.wait() == 0
    told = json.loads(running.out)
    assert (told["ranks"], len(told["rank_bytes"])) == (4, 4)
    assert told["runtime"] == "eager, 4 ranks"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("generate", "x"), "4 processes cannot share 4 heads over 2 key/value heads evenly"),
        (("generate", "x", "--method", "nothing"), "'nothing' is not known"),
        (("generate", "x", "--runtime", "native"), "the native runtime runs in one process"),
        (("generate", "x", "-m", "nowhere/at/all"), "folder 'nowhere/at/all' does not exist"),
        (("bench", "--workers", 2, "--out", "x.jsonl"), "bench --workers runs in one process"),
        (("serve", "--ray"), "serve --ray runs in one process"),
    ],
)
def test_what_is_refused_is_one_sentence(arguments, sentence):
    with launched(4, *arguments) as running:
        running.wait()
    (said,) = running.sentences()
    assert sentence in said
    assert "exitcode  : 2" in running.err.decode()  # torchrun's report of rank 0
