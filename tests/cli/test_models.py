"""`dynexit models`: what lies in a folder and in the hub's cache, and what does not run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dynexit.model.gguf import writing
from dynexit.model.inventory import inventory


@pytest.fixture
def home(tmp_path: Path, checkpoint: Path) -> Path:
    """A folder of models beside a cache of the hub."""
    shutil.copytree(checkpoint, tmp_path / "mine" / "early")
    (tmp_path / "mine" / "early" / "README.md").write_text("---\ntags: [early-exit]\n---\n# Tiny\n")
    source = writing.checkpoint(checkpoint, "tiny", with_tokenizer=False)
    writing.write(source, tmp_path / "mine" / "tiny.Q8_0.gguf", writing.Types.of("q8_0"))
    (tmp_path / "mine" / "broken.gguf").write_bytes(b"GGUF and no more")
    repo = tmp_path / "hub" / "hub" / "models--somebody--layerskip-tiny"
    shutil.copytree(checkpoint, repo / "snapshots" / ("a" * 40))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    return tmp_path


def listed(home: Path, folder: str) -> subprocess.CompletedProcess[str]:
    """What the command says, with that cache."""
    own = {"HF_HOME": str(home / "hub"), "DYNEXIT_CACHE": str(home / "cache"), "COLUMNS": "140"}
    command = [sys.executable, "-m", "dynexit", "models", folder]
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_CACHE"} | own
    return subprocess.run(command, capture_output=True, text=True, cwd=home, env=environment)


def test_all_that_is_at_hand_is_listed_with_what_it_is(home: Path) -> None:
    said = listed(home, "mine")
    assert said.returncode == 0
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in said.stdout.splitlines()
        if line.startswith("│")
    ]
    size = (home / "mine" / "tiny.Q8_0.gguf").stat().st_size
    assert [row[0] for row in rows] == [
        "bundled",
        "mine/tiny.Q8_0.gguf",
        "mine/early",
        "somebody/layerskip-tiny",
    ]
    assert rows[1][1:] == [f"{size / 1e6:,.0f} MB", "12", "Q8_0", "", ""]
    assert [row[4] for row in rows] == ["yes", "", "yes", "yes"]
    assert [row[5] for row in rows] == ["yes", "", "", ""]
    assert "mine/broken.gguf does not run" in said.stderr


def test_a_folder_without_a_card_is_not_looked_for_on_the_hub(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*given: object, **named: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.repocard.hf_hub_download", asked)
    monkeypatch.chdir(home / "mine")
    Path("early", "README.md").unlink()
    assert "early" in [entry.name for entry in inventory(Path())]


def test_a_folder_that_is_not_there(home: Path) -> None:
    said = listed(home, "yours")
    assert said.returncode == 2
    assert said.stderr == "error: yours is not a folder: give an existing one.\n"
