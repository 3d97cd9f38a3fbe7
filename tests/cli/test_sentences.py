"""Whatever a user gets wrong is told in one sentence that says what to do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dynexit.bench.journal import Journal
from dynexit.bench.options import Options
from dynexit.errors import CLOSED, reason

BROKEN = """
import dynexit

class Broken(dynexit.Controller):
    def plan(self, *given):
        return 1 / 0
"""


def test_a_users_method_that_fails_is_named_by_file_and_line(
    dynexit, checkpoint: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(BROKEN)
    code, out, err = dynexit("generate", "Hello", "-m", checkpoint, "--method", f"{file}:Broken")
    assert (code, out[-1]) == (2, "\n")
    assert err == f"error: {file}, line 6, in plan: ZeroDivisionError: division by zero.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("generate", "x", "--temperature", "abc"), "'abc' must be a number."),
        (("generate", "x", "-n", "1.5"), "'1.5' must be a whole number."),
        (("bench", "-o", "x", "--workers", "0"), "'0' must be at least 1."),
    ],
)
def test_an_options_value_is_refused_in_plain_words(dynexit, arguments, words) -> None:
    code, _, err = dynexit(*arguments)
    assert code == 2
    assert words in " ".join(err.replace("│", "").split())


def test_a_reader_that_goes_away_is_told_by_the_exit_code(checkpoint: Path) -> None:
    command = [sys.executable, "-m", "dynexit", "generate", "Hello", "-m", str(checkpoint)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.close()
        assert running.wait() == CLOSED
        assert running.stderr.read() == b""


def test_a_benchmark_that_was_stopped_early_is_no_file_or_told_so(dynexit, tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    with Journal(file, Options()):
        assert file.exists()
    assert not file.exists()
    file.touch()
    code, out, err = dynexit("report", file, "-o", tmp_path / "report")
    assert (code, out) == (2, "")
    assert err == f"error: {file} is empty: the benchmark was stopped before its first text.\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file"), "there is no such file or folder"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (json.JSONDecodeError("Expecting value", "{\n]", 2), "it goes wrong at line 2, column 1"),
        (json.JSONDecodeError("Expecting value", "[,]", 1), "it goes wrong at column 2"),
        (json.JSONDecodeError("Expecting value", "\n", 0), "it is empty"),
        (ValueError("first.\nsecond"), "first"),
    ],
)
def test_reasons_are_words(error, words) -> None:
    assert reason(error) == words
