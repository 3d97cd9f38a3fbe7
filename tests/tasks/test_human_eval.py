"""Generated programs: right, wrong, endless, greedy, and the ones that leave early."""

import os
import time

import pytest
from small_data import ROWS

from dynexit.errors import DynexitError
from dynexit.tasks import code_execution, code_runner, make_task
from dynexit.tasks.code_execution import passes
from dynexit.tasks.human_eval import program

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits are POSIX's")
ROW = ROWS["HumanEval"][3]
RIGHT = ROW["canonical_solution"]


def reference():
    return make_task("human_eval").reference(ROW)


def test_nothing_runs_unless_allowed(monkeypatch):
    monkeypatch.setattr("dynexit.tasks.human_eval.passes", pytest.fail)
    assert make_task("human_eval").score(RIGHT, reference()) == {}
    assert make_task("human_eval").score_all([RIGHT], [reference()]) == {}


def test_right_and_wrong():
    task = make_task("human_eval", allow_code_execution=True)
    rambling = f"{RIGHT}\nThis adds three.\n\ndef add(a):\n    return 0\n"
    assert task.score(rambling, reference()) == {"pass@1": 1.0}
    assert task.score("    return a\n", reference()) == {"pass@1": 0.0}


@pytest.mark.parametrize(
    "rest",
    [
        "\ndef other():\n    pass",
        "\nclass A:",
        '\nif __name__ == "__main__":\n    add(1)',
        "\nprint(add(1))",
        "\n# Test",
        "\n@cache",
        "\n```\nThat is all.",
    ],
)
def test_a_completion_ends_at_the_margin(rest):
    code = program(f"    b = (\n        a + 3\n)\n\n    return b{rest}", reference())
    assert rest not in code
    assert "return b\n" in code
    assert code.endswith("check(add)\n")


@pytest.mark.parametrize(
    "code",
    ["import sys\nsys.exit(0)", "import os\nos._exit(0)", "input()", "def", "\0", "1 / 0"],
)
def test_programs_that_do_not_reach_their_end(code):
    assert not passes(code)


def test_the_environment_is_bare(monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("PYTHONPATH", "x")
    assert passes(
        "import os, sys\n"
        "assert 'SECRET' not in os.environ\n"
        "assert sys.flags.isolated\n"
        "assert os.listdir() == ['program.py']\n"
        "print('x' * 100_000, '\u00e4', file=sys.stderr)\n"
    )


def test_time_is_limited():
    begun = time.monotonic()
    assert not passes("while True: pass", seconds=1)
    assert not passes("import time\ntime.sleep(60)", seconds=1)
    assert time.monotonic() - begun < 30


def test_memory_is_limited():
    hungry = "try:\n    bytearray(4 << 30)\nexcept MemoryError:\n    pass\nelse:\n    1 / 0"
    assert passes(hungry)
    assert not passes("bytearray(4 << 30)")


def test_files_are_limited():
    assert not passes("open('x', 'wb').write(bytes(20 << 20))")


def test_what_a_program_starts_ends_with_it(tmp_path):
    mark = tmp_path / "mark"
    child = f"import time; time.sleep(1); open({str(mark)!r}, 'w')"
    assert passes(f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}])")
    time.sleep(2)
    assert not mark.exists()


def test_systems_without_limits_are_told(monkeypatch):
    monkeypatch.setattr(code_execution, "_run", lambda *_: code_runner.UNLIMITED)
    with pytest.raises(DynexitError, match="refuses to limit"):
        passes("")
