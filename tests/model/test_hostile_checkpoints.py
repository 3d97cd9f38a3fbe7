"""Checkpoints that somebody has tampered with are refused in a sentence, or load and generate."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of forked processes"),
]


@pytest.mark.parametrize("seed", [1, 2])
def test_hundreds_of_tampered_checkpoints(seed):
    command = [sys.executable, "-W", "ignore", Path(__file__).with_name("hostile.py"), str(seed)]
    helpers = str(Path(__file__).parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": helpers}
    run = subprocess.run([*command, "400"], env=environment, stdout=subprocess.PIPE, check=True)
    *wrong, tally = run.stdout.decode().splitlines()
    assert not wrong
    assert min(json.loads(tally).values()) > 50
