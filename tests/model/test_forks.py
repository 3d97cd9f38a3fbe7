"""A model that was loaded before a fork writes in the child what it writes in the parent."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

FORK = """
import os, signal, sys, threading
import torch
import dynexit

folder, runtime = sys.argv[1:]
lm = dynexit.load(folder, "fp32", check=False, runtime=runtime)
PROMPT, RULE = [1, 2, 3] * 168, {"max_new_tokens": 10, "temperature": 0.8, "seed": 3}

def text():
    return lm.generate(PROMPT, "layerskip", **RULE).token_ids

def in_a_thread():
    found = []
    worker = threading.Thread(target=lambda: found.append(text()))
    worker.start()
    worker.join()
    return found[0]

def child_of(check):
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends a child that waits for good
        os._exit(0 if check() == wanted else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

wanted = text()
torch.rand(1000, 1000).exp().mm(torch.rand(1000, 1000)).cos()  # PyTorch's own threads have run
codes = [child_of(text), child_of(in_a_thread)]
stop = threading.Event()
def go_on():
    while not stop.is_set():
        lm.generate(PROMPT, "vanilla", max_new_tokens=9)
busy = threading.Thread(target=go_on)
busy.start()
codes += [child_of(text) for _ in range(2)]  # while another thread is in the library
stop.set()
busy.join()
assert text() == wanted
assert codes == [0] * 4, codes
"""


@pytest.mark.parametrize("runtime", ["native", pytest.param("eager", marks=pytest.mark.slow)])
def test_children_write_what_their_parent_does(checkpoint, runtime):
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(checkpoint), runtime]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    subprocess.run(command, env=environment, check=True, timeout=300)
