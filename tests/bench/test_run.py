"""Benchmarks end to end on a real checkpoint: what is written, and what survives a kill."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import psutil
import pytest
from safetensors.numpy import load_file, save_file

from dynexit import DynexitError
from dynexit.bench.executors import Cluster, Inline, Processes
from dynexit.bench.provenance import command_line
from dynexit.bench.records import Record, read_records
from dynexit.bench.report.gathering import gather
from dynexit.bench.run import run
from dynexit.model.fingerprint import fingerprint
from dynexit.tasks.base import Example


def nobody(record, done, total):
    """A watcher that looks away."""


def methods_by_example(records):
    found = {}
    for record in records:
        found.setdefault((record.task, record.example), []).append(record.method)
    return found


def assert_complete(records, options, examples=3):
    """One record for every example and method, all with vanilla's text."""
    assert Counter(r.key for r in records).most_common(1)[0][1] == 1
    assert len(records) == examples * len(options.methods)
    plain = {r.example: r.token_ids for r in records if r.method == "vanilla"}
    assert all(r.token_ids == plain[r.example] for r in records)
    assert all(len(r.token_ids) == options.max_new_tokens for r in records)


@pytest.fixture
def whole(options, tmp_path):
    """A finished run: its file."""
    out = tmp_path / "run.jsonl"
    assert run(options, out, Inline(), nobody) == (0, 0)
    return out


def test_one_record_for_every_example_and_method(whole, options):
    records = list(read_records([whole]))
    assert_complete(records, options)
    for record in records:
        assert record.stats["tokens"] == 9
        assert record.stats["prefill_seconds"] > 0
        assert record.stats["decode_seconds"] > 0
        assert record.peak_memory > 10_000_000
        assert record.prompt_tokens > 20
        assert set(record.scores) == {"exact_match"}
        assert record.environment["dtype"] == "float32"
        assert record.environment["command"] == command_line(sys.argv)
        assert record.environment["date"] == records[0].environment["date"]
        assert {"commit", "transformers", "torch"} <= set(record.environment)
        assert record.options == json.loads(json.dumps(options.as_dict()))


def test_methods_take_turns_and_each_begins_once(whole, options):
    turns = list(methods_by_example(read_records([whole])).values())
    assert sorted(turn[0] for turn in turns) == sorted(options.methods)


def test_a_finished_run_is_not_run_again(whole, options):
    before = whole.read_bytes()
    told = []
    run(options, whole, Inline(), lambda *state: told.append(state))
    assert whole.read_bytes() == before
    assert told == [(None, 9, 9)]


@pytest.mark.parametrize("finished", [1, 3, 5])
def test_a_stopped_run_continues(options, tmp_path, finished):
    out = tmp_path / "run.jsonl"

    def stop(record, done, total):
        assert total == 9
        if done == finished:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(options, out, Inline(), stop)
    before = out.read_bytes()
    assert before.count(b"\n") == finished
    run(options, out, Inline(), nobody)
    assert out.read_bytes().startswith(before)
    assert_complete(list(read_records([out])), options)


def test_a_torn_last_line_is_repaired(whole, options):
    lines = whole.read_bytes().splitlines(keepends=True)
    whole.write_bytes(b"".join(lines[:4]) + lines[4][:100])
    run(options, whole, Inline(), nobody)
    assert_complete(list(read_records([whole])), options)


def test_lines_end_where_json_says_they_do(tmp_path):
    """Generated text may hold line separators of other kinds."""
    record = Record("m", "t", "e", "vanilla", text="a\u2028b\x85c\nd\re")
    (tmp_path / "run.jsonl").write_text(record.as_line() * 2, encoding="utf-8")
    assert list(read_records([tmp_path / "run.jsonl"])) == [record, record]


def test_other_options_are_refused_and_nothing_is_lost(whole, options):
    before = whole.read_bytes()
    for change in ({"max_new_tokens": 11}, {"methods": ("vanilla", "del")}, {"seed": 1}):
        with pytest.raises(DynexitError, match=rf"was written with {next(iter(change))} "):
            run(dataclasses.replace(options, **change), whole, Inline(), nobody)
    assert whole.read_bytes() == before


@pytest.fixture
def prompts(options, tmp_path):
    """Write a file of prompts; gives the options of a run on it."""

    def write(*texts):
        file = tmp_path / "prompts.jsonl"
        file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
        return dataclasses.replace(
            options, tasks=(f"jsonl:{file}",), methods=("vanilla", "del"), num_samples=None
        )

    return write


def counted(out):
    """{text that was asked: methods} of what a report of the file counts."""
    (study,) = gather(read_records([out])).studies
    asked = {example_of(text): text for text in ("A", "B", "C", "X")}
    contents = {r.example: r.prompt for r in read_records([out]) if not r.gone}
    return Counter(asked[contents[s.own.example]] for m in study.methods for s in study.of(m))


def example_of(text):
    """The content of a prompt without a reference."""
    return Example("", text, None).content


def test_a_record_belongs_to_its_prompt_and_not_to_the_prompts_place(prompts, tmp_path):
    out = tmp_path / "run.jsonl"
    assert run(prompts("A", "B", "C"), out, Inline(), nobody) == (0, 0)
    told, moved = [], prompts("X", "A", "B", "C")
    assert run(moved, out, Inline(), lambda *state: told.append(state)) == (0, 6)
    assert told[0] == (None, 0, 8)
    assert told[-1][1:] == (8, 8)
    assert counted(out) == dict.fromkeys("XABC", 2)
    assert run(prompts("X", "A"), out, Inline(), nobody) == (0, 10)
    assert counted(out) == dict.fromkeys("XA", 2)
    before = out.read_bytes()
    assert run(prompts("X", "A"), out, Inline(), nobody) == (0, 10)
    assert out.read_bytes() == before
    again = prompts("X", "A", "B", "C")
    assert run(again, out, Inline(), nobody) == (0, 6)  # prompts that have come back run again
    assert counted(out) == dict.fromkeys("XABC", 2)


def test_an_edited_reference_is_another_prompt():
    assert Example("1", "A", "x").content != Example("1", "A", "y").content
    assert Example("1", "A", "x").content == Example("2", "A", "x").content


@pytest.mark.parametrize("changed", ["threads", "checkpoint"])
def test_records_made_under_other_conditions_are_not_continued(whole, options, changed):
    lines = [json.loads(line) for line in whole.read_text().splitlines()]
    for line in lines:
        (line if changed == "checkpoint" else line["environment"])[changed] = 77
        line["checkpoint"] = str(line["checkpoint"])
    before = "".join(json.dumps(line) + "\n" for line in lines[:5])
    whole.write_text(before)
    with pytest.raises(DynexitError, match=f"were made with {changed} .*77.*: continue under the"):
        run(options, whole, Inline(), nobody)
    assert whole.read_text() == before


def test_checkpoints_of_one_shape_have_names_of_their_own(checkpoint, tmp_path):
    copied = shutil.copytree(checkpoint, tmp_path / "copy")
    assert fingerprint([copied]) == fingerprint([checkpoint])
    weights = copied / "model.safetensors"
    tensors = load_file(weights)
    save_file({name: 1.01 * tensor for name, tensor in tensors.items()}, weights)
    assert fingerprint([copied]) != fingerprint([checkpoint])
    assert fingerprint([checkpoint, checkpoint]) != fingerprint([checkpoint])


def test_failures_and_prompts_that_are_gone_are_told(dynexit, options, prompts, tmp_path):
    out, asked = tmp_path / "run.jsonl", prompts("x" * 5_000, "A")
    command = ("bench", "-o", out, "-m", *options.models, "-t", *asked.tasks, "-n", 4)
    code, _, err = dynexit(*command, "--method", "vanilla", "--dtype", "fp32")
    assert code == 1
    assert "1 failed: their records say why." in err
    prompts("A")
    code, _, err = dynexit(*command, "--method", "vanilla", "--dtype", "fp32")
    assert code == 0
    assert "2 records belong to prompts that no longer exist" in err


def test_a_file_of_something_else_is_refused(options, tmp_path):
    out = tmp_path / "notes.txt"
    out.write_text("dear diary\n")
    with pytest.raises(DynexitError, match="line 1 is not a record"):
        run(options, out, Inline(), nobody)
    assert out.read_text() == "dear diary\n"


def test_a_file_in_use_is_refused(options, tmp_path):
    out = tmp_path / "run.jsonl"

    def run_again(record, done, total):
        if record is not None:
            with pytest.raises(DynexitError, match="being written by another run"):
                run(options, out, Inline(), nobody)

    run(options, out, Inline(), run_again)


def test_a_failed_prompt_is_recorded_and_the_rest_goes_on(options, rows, tmp_path):
    task = f"jsonl:{rows / 'prompts.jsonl'}"
    out = tmp_path / "run.jsonl"
    changed = dataclasses.replace(options, tasks=(task,), methods=("vanilla", "del"))
    assert run(changed, out, Inline(), nobody).failed == 2
    records = list(read_records([out]))
    assert len(records) == 6
    failed = [r for r in records if r.error]
    assert len({r.example for r in failed}) == 1
    assert all("the model's context holds" in r.error for r in failed)
    assert all(r.stats is None and not r.token_ids for r in failed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ("vanilla", "fastest")}, "method 'fastest' is not known"),
        ({"methods": ("vanilla", "del:speed=9")}, "no setting 'speed'"),
        ({"methods": ("vanilla", "two-model")}, "give --draft-model"),
        ({"tasks": ("gsm9k",)}, "gsm9k"),
    ],
)
def test_what_cannot_run_is_refused_before_a_file_is_made(options, tmp_path, change, message):
    out = tmp_path / "run.jsonl"
    with pytest.raises(DynexitError, match=message):
        run(dataclasses.replace(options, **change), out, Inline(), nobody)
    assert not out.exists()


def kill_one(names):
    """Kill one of our descendants whose command line holds one of `names`."""
    for child in psutil.Process().children(recursive=True):
        if any(name in " ".join(child.cmdline()) for name in names):
            child.kill()
            return
    raise AssertionError("no worker to kill")


@pytest.mark.slow
def test_processes_finish_though_one_of_them_is_killed(options, tmp_path):
    out, killed = tmp_path / "run.jsonl", []

    def kill(record, done, total):
        if record is not None and not killed:
            killed.append(kill_one(["spawn_main"]))

    executor = Processes(2, shard_size=1)
    assert run(dataclasses.replace(options, threads=1), out, executor, kill).failed == 0
    assert killed
    assert_complete(list(read_records([out])), options)


@pytest.mark.slow
def test_a_ray_cluster_finishes_though_one_worker_is_killed(options, tmp_path):
    ray = pytest.importorskip("ray", reason="the extra dynexit[ray] is not installed")
    out, killed = tmp_path / "run.jsonl", []

    def kill(record, done, total):
        if record is not None and not killed:
            killed.append(kill_one(["ray::run_shard"]))

    changed = dataclasses.replace(options, threads=1, num_samples=6)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert run(changed, out, Cluster("auto", shard_size=1), kill).failed == 0
    finally:
        ray.shutdown()
    assert killed
    assert_complete(list(read_records([out])), changed, examples=6)


def test_the_command_survives_a_kill(options, rows, checkpoint, tmp_path):
    out = tmp_path / "run.jsonl"
    command = [sys.executable, "-m", "dynexit", "bench", "-o", out, "-m", checkpoint]
    command += ["-t", "gsm8k", "--data-dir", rows, "--num-samples", 3, "-n", 10, "--dtype", "fp32"]
    for method in options.methods:
        command += ["--method", method]
    started = subprocess.Popen([*map(str, command)], stderr=subprocess.DEVNULL)
    while started.poll() is None and not (out.exists() and out.stat().st_size):
        time.sleep(0.02)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    again = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "dynexit report" in again.stderr
    assert_complete(list(read_records([out])), options)
