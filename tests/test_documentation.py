"""Every Python and shell block of the README and of docs/ runs, in order, page by page.

A block is left out by an HTML comment on the line before it, with its reason:
`<!-- not run: downloads a checkpoint -->`. `<!-- slow -->` leaves it to `--slow`, with all after it
on the page. A block with a title is a file; under `src/dynexit/` it counts as the package's own.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dynexit import tasks
from dynexit.bench.report import figures
from dynexit.cli import main
from dynexit.decoding import controllers, drafters, proposers
from dynexit.model import families

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- (?P<note>.*?) -->\n)?^```(?P<head>[^\n]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
PACKAGES = {
    "src/dynexit/tasks": tasks,
    "src/dynexit/decoding/controllers": controllers,
    "src/dynexit/decoding/drafters": drafters,
    "src/dynexit/decoding/proposers": proposers,
    "src/dynexit/model/families": families,
    "src/dynexit/bench/report/figures": figures,
}


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its title if it is a file, what the comment says."""

    language: str
    title: str | None
    text: str
    note: str


def blocks(page: Path) -> Iterator[Block]:
    for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
        language, _, attributes = found["head"].partition(" ")
        title = re.search(r'title="(.*?)"', attributes)
        yield Block(language, title and title[1], found["text"], found["note"] or "")


RUNNABLE = ("python", "bash")
TESTED = [
    pytest.param(
        page, marks=pytest.mark.gguf_tokenizer if page.name == "gguf.md" else (), id=page.name
    )
    for page in PAGES
    if any(block.language in RUNNABLE for block in blocks(page))
]


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """The page's own folder, whose src/dynexit counts as part of the package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "code")
    )
    for folder, package in PACKAGES.items():
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / folder)])
    before = set(sys.modules)
    yield tmp_path
    forget()
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def forget():
    """What a page adds is found, and gone after it."""
    drafters.drafters.cache_clear()
    proposers.proposers.cache_clear()


@pytest.mark.parametrize("page", TESTED)
def test_a_page_runs_from_top_to_bottom(page, empty_folder, request, monkeypatch):
    namespace = {"__name__": "__page__"}
    for block in blocks(page):
        if block.note == "slow" and not request.config.getoption("--slow"):
            break
        if block.note.startswith("not run: "):
            continue
        if block.title is not None:
            file = empty_folder / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
            forget()
        elif block.language == "python":
            exec(compile(block.text, str(page), "exec"), namespace)
        elif block.language == "bash":
            run_commands(block.text, monkeypatch)


def run_commands(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that calls dynexit runs in this process, which has loaded everything already."""
    lines = text.replace("\\\n", " ").splitlines()
    if not all(line.startswith("dynexit ") for line in lines):
        subprocess.run(["bash", "-euo", "pipefail", "-c", text], check=True)
        return
    for line in lines:
        monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
        with pytest.raises(SystemExit) as stopped:
            main()
        assert not stopped.value.code, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_not_run_says_why(page):
    for block in blocks(page):
        reason = block.note.partition("not run:")[2] if "not run" in block.note else "a reason"
        assert len(reason.split()) > 1, block.text


def test_every_method_is_described():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES[1:])
    assert not [name for name in controllers.methods() if f"`{name}`" not in text]


def test_a_block_that_fails_is_seen(tmp_path, empty_folder, request, monkeypatch):
    for source in (
        "```python\nassert False\n```\n",
        "```bash\ndynexit generate a --top-p 7\n```\n",
    ):
        page = tmp_path / "page.md"
        page.write_text(source)
        with pytest.raises(AssertionError):
            test_a_page_runs_from_top_to_bottom(page, empty_folder, request, monkeypatch)


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="the extra dynexit[docs] is not installed")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-q",
        "-d",
        str(tmp_path / "site"),
    ]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "site" / "transformers" / "index.html").exists()
