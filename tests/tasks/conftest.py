import pytest
from small_data import PROMPTS, ROWS, lines, write

from dynexit.tasks import task_names


@pytest.fixture(params=[*task_names(), "jsonl"])
def name(request, tmp_path):
    """Every task, and a user's own file."""
    return f"jsonl:{tmp_path}/prompts.jsonl" if request.param == "jsonl" else request.param


@pytest.fixture
def folder(tmp_path):
    for stem in ROWS:
        write(tmp_path, stem)
    (tmp_path / "prompts.jsonl").write_text(lines(PROMPTS), encoding="utf-8")
    return tmp_path
