"""Whatever a user gets wrong is told in one sentence that says what to do."""

from pathlib import Path

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
