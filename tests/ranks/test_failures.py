"""A process that fails or computes something else ends them all, with one sentence."""

import os
import signal
import time

import pytest
from ranked import FORKS, helpers, shared, tell, text_of

from dynexit import DynexitError
from dynexit.model.ranks.group import Seat, join, leave

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


def lead(folder, place, change):
    """Rank 0, writing a long text, with its standard error in a file."""
    os.dup2(os.open(place / "said", os.O_WRONLY | os.O_CREAT), 2)
    ranks = join(Seat(0, 2, f"file://{place}/meet"), tell)
    try:
        model = shared(ranks, folder)
    except DynexitError as error:  # as the command line does
        tell(str(error))
        leave(2)
        os._exit(2)
    (place / "begun").touch()
    exec(change, {})
    for _ in range(1_000):
        text_of(model, [3, 1, 4], "layerskip", max_new_tokens=100, speculation_length=3)


def end_of(folder, place, helper="", leader="", kill=False):
    """How a text of two processes ends: exit codes, and what they say."""
    other_said = os.open(place / "other", os.O_RDWR | os.O_CREAT)
    aside = f"import os; os.dup2({other_said}, 2)\n"
    (other,) = helpers(2, place, aside + helper)
    first = FORKS.Process(target=lead, args=(folder, place, leader))
    first.start()
    if kill:
        while not (place / "begun").exists():
            time.sleep(0.01)
        time.sleep(0.5)
        first.kill()
    for one in (first, other):
        one.join(60)
    said = (place / "said").read_text() + (place / "other").read_text()
    return (first.exitcode, other.exitcode), said


def test_rank_0_that_is_killed(folders, tmp_path):
    codes, said = end_of(folders["llama"], tmp_path, kill=True)
    assert codes == (-signal.SIGKILL, 1)
    assert said == "process 0 of 2 has died; so all of them end.\n"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"helper": OTHER}, "process 1 of 2 has ended: it read other tokens than process 0."),
        ({"helper": FAILING}, "process 1 of 2 has ended: there is no memory left."),
        ({"leader": FAILING}, "process 0 of 2 has failed: there is no memory left."),
    ],
)
def test_a_process_that_fails_or_reads_other_tokens(folders, tmp_path, changes, sentence):
    codes, said = end_of(folders["llama"], tmp_path, **changes)
    assert codes == (1, 1)
    assert said == f"{sentence}\n"


def test_a_helper_that_cannot_load(folders, tmp_path):
    change = "import dynexit.model.ranks.member as member\ndef fail(folder, config):\n"
    change += "    raise OSError('the disk is gone')\nmember.check_weights = fail"
    codes, said = end_of(folders["llama"], tmp_path, helper=change)
    assert codes == (2, 2)
    assert said == f"{folders['llama']} cannot be loaded: the disk is gone.\n"
