"""Processes that we start end with us, however we end."""

import subprocess
import sys
import time

import psutil
import pytest

from dynexit import lifetime

LOOP = "while True: pass"
CHILD = f"""
import sys
from runpy import run_path
run_path({lifetime.__file__!r})["end_with_parent"](int(sys.argv[1]))
print("ready", flush=True)
{LOOP}
"""
PLAIN = """
import os, subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1], str(os.getpid())])
"""
CODE = f"""
from dynexit.tasks.code_execution import passes
passes("import sys; print('ready', file=sys.__stdout__)\\n{LOOP}", seconds=60)
"""
BENCH = """
import sys
from dynexit.cli import main
if __name__ == "__main__":
    sys.argv = ["dynexit", "bench", "--workers", "2", "--method", "vanilla", *sys.argv[1:]]
    main()
"""


def until(condition, seconds):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def family(process):
    return psutil.Process(process.pid).children(recursive=True)


def kill(process):
    """Kill a process; its children end."""
    children = family(process)
    assert children
    process.kill()
    process.wait()
    until(lambda: not any(map(runs, children)), 30)


def runs(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_child_that_loops_ends_with_its_parent():
    process = subprocess.Popen([sys.executable, "-c", PLAIN, CHILD], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    kill(process)
    process.stdout.close()


def test_a_child_whose_parent_has_ended_already_ends():
    assert subprocess.run([sys.executable, "-c", CHILD, "1"], timeout=60).returncode != 0


@pytest.mark.slow
def test_a_generated_program_ends_with_what_started_it():
    process = subprocess.Popen([sys.executable, "-c", CODE])
    until(lambda: any(child.cpu_times().user > 0.5 for child in family(process)), 120)
    kill(process)


@pytest.mark.slow
def test_workers_of_a_benchmark_end_with_it(tmp_path):
    script, prompts, out = (tmp_path / name for name in ("bench.py", "prompts.jsonl", "run.jsonl"))
    script.write_text(BENCH)
    prompts.write_text("".join(f'{{"prompt": "Say {n}:"}}\n' for n in range(40)))
    told = ["--task", f"jsonl:{prompts}", "-n", "400", "--out", out]
    process = subprocess.Popen([sys.executable, script, *map(str, told)])
    until(lambda: out.exists() and out.read_text(), 240)
    assert len(family(process)) >= 2
    kill(process)
