"""Benchmarks end to end on a real checkpoint: what is written, and what survives a kill."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import psutil
import pytest

from dynexit import DynexitError
from dynexit.bench.executors import Cluster, Inline, Processes
from dynexit.bench.records import Record, read_records
from dynexit.bench.run import run


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
    assert run(options, out, Inline(), nobody) == 0
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
    assert run(changed, out, Inline(), nobody) == 2
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
    assert run(dataclasses.replace(options, threads=1), out, executor, kill) == 0
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
        assert run(changed, out, Cluster("auto", shard_size=1), kill) == 0
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
