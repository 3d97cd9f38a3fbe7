"""What users and models write is printed as it is: no markup, no emoji, no character lost."""

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table
from tokenizers import pre_tokenizers

from dynexit.cli import printing
from dynexit.cli.printing import print_json
from dynexit.cli.roofline import HEADINGS

ODD = "\t:smile:\r[bold]x[/]\v:-1:\f[a b]é"


@pytest.fixture(scope="module")
def odd_words(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint most of whose tokens are `ODD` and a number."""
    folder = tmp_path_factory.mktemp("odd") / "model"
    shutil.copytree(checkpoint, folder)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    spelled = pre_tokenizers.ByteLevel(False, use_regex=False).pre_tokenize_str(ODD)[0][0]
    vocabulary = tokenizer["model"]["vocab"].items()
    tokenizer["model"]["vocab"] = {w.replace("Ġw", spelled): i for w, i in vocabulary}
    tokenizer["model"]["merges"] = []  # they spell the words that were
    file.write_text(json.dumps(tokenizer))
    return folder


def test_a_pipe_holds_the_text_character_for_character(dynexit, odd_words: Path) -> None:
    asked = ("generate", "Hi", "-m", odd_words, "-n", 12)
    _, out, _ = dynexit(*asked, "--json")
    text = json.loads(out)["text"]
    assert all(mark in text for mark in ("\t", ":smile:", "\r", "[bold]x[/]", "\v", "\f", "é"))
    assert dynexit(*asked)[1] == text + "\n"


def test_a_terminal_shows_text_and_no_markup(
    dynexit, odd_words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    _, out, _ = dynexit("generate", "Hi", "-m", odd_words, "-n", 12)
    assert ":smile:" in out
    assert "[bold]x[/]" in out


def test_errors_keep_brackets_and_colons(dynexit) -> None:
    _, _, err = dynexit("generate", "-f", "/nowhere/[red]:smile:'dynexit[llama-cpp]'")
    assert "/nowhere/[red]:smile:'dynexit[llama-cpp]'" in err


def test_tables_hold_names_whole(dynexit, odd_words: Path, tmp_path: Path) -> None:
    file = tmp_path / "[bold]:smile: and a name that is longer than eighty columns are wide.py"
    file.write_text(
        "import dynexit\n\n\nclass Two(dynexit.Controller):\n"
        "    def plan(self):\n        return dynexit.Plan(exit_layer=2, speculation_length=2)\n"
    )
    method = f"{file}:Two"
    code, out, _ = dynexit(
        "generate", "[a]:-1:", "-m", odd_words, "-n", 4, "--compare", "--method", method
    )
    assert code == 0
    assert out.startswith("[a]:-1:")
    assert method in out


def ascii_stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), "ascii")


def test_an_encoding_that_lacks_characters_is_no_error(
    dynexit, odd_words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("generate", "Hi", "-m", odd_words, "-n", 4)
    _, text, _ = dynexit(*asked)
    monkeypatch.setattr(sys, "stdout", stream := ascii_stream())
    assert dynexit(*asked)[0] == 0
    assert stream.buffer.getvalue().decode() == text.replace("é", "\\xe9")


def test_json_is_json_in_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", stream := ascii_stream())
    print_json({"text": "é😀"})
    assert json.loads(stream.buffer.getvalue()) == {"text": "é😀"}


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_full_disk_is_one_sentence(
    dynexit, odd_words: Path, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        code, _, err = dynexit("generate", "Hi", "-m", odd_words, "-n", 4, *form)
    assert code == 2
    assert err == "error: cannot write standard output: No space left on device.\n"


@pytest.mark.parametrize("width", [30, 60, 80])
def test_no_table_is_cut_off(monkeypatch, width) -> None:
    written = io.StringIO()
    monkeypatch.setattr(printing, "_output", Console(file=written, width=width))
    table = Table()
    for heading in HEADINGS:
        table.add_column(heading, justify="right", min_width=max(map(len, heading.split())))
    row = ["1024", "32", "123.45", "12.34", "12.345", "123.45", "100%", "1234.5", "12345"]
    table.add_row(*row)
    printing.print_table(table)
    lines = written.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert sum(map(written.getvalue().count, "0123456789")) == sum(map(str.isdigit, "".join(row)))
