"""A process that fails or computes something else ends them all, with one sentence."""

import subprocess
import sys

import pytest
from ranked import helpers

LEADER = """
import sys
from pathlib import Path
import torch
from dynexit import LanguageModel
from dynexit.model.loading import load_shape
from dynexit.model.ranks.group import Seat, join
from dynexit.model.ranks.loading import load_sharded
from dynexit.model.ranks.member import Member

folder, address = Path(sys.argv[1]), sys.argv[2]
ranks = join(Seat(0, 2, address), lambda sentence: print(sentence, file=sys.stderr))
model = load_sharded(ranks, None, folder, load_shape(folder), torch.float64, [torch.device("cpu")])
{change}
LanguageModel(model).generate([3, 1, 4], "layerskip", max_new_tokens=100, speculation_length=3)
"""
OTHER = """
from dynexit.model.ranks.shard import Shard
measure = Shard.measure
Shard.measure = lambda self, *given: measure(self, *given) + 1
"""
FAILING = """
from dynexit.model.ranks.member import Member
run = Member.run
def fail(self, call):
    if call.name == "verify":
        raise RuntimeError("there is no memory left\\nand more")
    return run(self, call)
Member.run = fail
"""


def end_of(folder, place, helper="", leader=""):
    """How a text of two processes ends: exit codes, and what they say."""
    (other,) = helpers(2, place, helper)
    command = [sys.executable, "-c", LEADER.format(change=leader), folder, f"file://{place}/meet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return (done.returncode, other.wait(10)), done.stderr


def test_tokens_that_differ(folders, tmp_path):
    codes, said = end_of(folders["llama"], tmp_path, helper=OTHER)
    assert codes == (1, 1)
    assert said == "process 1 of 2 has ended: it read other tokens than process 0.\n"


@pytest.mark.slow
def test_a_helper_that_fails(folders, tmp_path):
    codes, said = end_of(folders["llama"], tmp_path, helper=FAILING)
    assert codes == (1, 1)
    assert said == "process 1 of 2 has ended: there is no memory left.\n"


@pytest.mark.slow
def test_rank_0_that_fails_inside_a_call(folders, tmp_path):
    codes, said = end_of(folders["llama"], tmp_path, leader=FAILING)
    assert codes == (1, 1)
    assert said == "process 0 of 2 has failed: there is no memory left.\n"


@pytest.mark.slow
def test_a_helper_that_cannot_load(folders, tmp_path):
    change = "import dynexit.model.ranks.member as member\ndef fail(folder, config):\n"
    change += "    raise OSError('the disk is gone')\nmember.check_weights = fail"
    codes, said = end_of(folders["llama"], tmp_path, helper=change)
    assert codes[0] == 1
    assert "cannot be loaded: the disk is gone." in said  # the command line prints it alone
