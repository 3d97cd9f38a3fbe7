"""No number of threads stops the machine."""

import os
import subprocess
import sys

import pytest
from tiny_checkpoints import refusal

from dynexit.model.threads import check_threads, cores


@pytest.mark.parametrize("count", [0, -1, cores() + 1, 9999, 10**30])
def test_more_than_cores_are_refused(count):
    told = refusal(lambda: check_threads(count))
    assert told.startswith(f"{count} threads are not possible here: use 1 to {cores()}")


@pytest.mark.parametrize("count", [None, 1, cores()])
def test_as_many_as_cores_are_fine(count):
    check_threads(count)


COMMANDS = [
    ("generate", "hello", "--threads", "9999"),
    ("info", "--threads", "9999"),
    ("serve", "--port", "0", "--threads", "9999"),
    ("bench", "-o", "x.jsonl", "--threads", "9999"),
    ("sweep", "-o", "x.jsonl", "--workers", "2", "--threads", "9999"),
    ("train", "recipe.yaml", "-o", "out", "--data-dir", ".", "--threads", "9999"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_commands_say_so_before_anything_is_loaded(dynexit, monkeypatch, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    code, out, err = dynexit(*command)
    assert (code, out) == (2, "")
    assert "9999 threads are not possible here" in " ".join(err.split())


READ = """
import sys, torch, dynexit
lm = dynexit.load(sys.argv[1], "fp32", check=False)
lm.generate([1, 2, 3], "vanilla", max_new_tokens=3)
print(torch.get_num_threads(), lm.model.threads)
"""


def test_the_environment_asks_for_no_more_than_cores(checkpoint):
    command = [sys.executable, "-W", "ignore", "-c", READ, str(checkpoint)]
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environment = {k: v for k, v in os.environ.items() if not k.endswith("NUM_THREADS")}
        environment[name] = "9999"
        run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        counts = [int(count) for count in run.stdout.split()]
        assert max(counts) <= cores()
