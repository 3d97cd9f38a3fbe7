"""What a user waits for: nothing heavy before it is needed, and checks before loading."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import dynexit
from dynexit.cli import app, options

HEAVY = ("torch", "transformers", "tokenizers", "datasets", "matplotlib", "fastapi")
SCRIPT = f"""
import contextlib, io, json, sys
from dynexit.__main__ import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["dynexit", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        with contextlib.redirect_stderr(io.StringIO()) as err:
            try:
                main()
            except SystemExit as end:
                code = end.code
    loaded = [name for name in {HEAVY} if name in sys.modules]
    print(json.dumps([code, out.getvalue(), err.getvalue(), loaded]))
"""
COMMANDS = [
    (one.name or one.callback.__name__).replace("_", "-") for one in app.registered_commands
]


def run_all(command_lines):
    """Exit code, both outputs and heavy modules so far of each, in one process."""
    command = [sys.executable, "-c", SCRIPT, json.dumps(command_lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_help_and_version_import_nothing_heavy() -> None:
    lines = [["--version"], ["--help"], *([name, "--help"] for name in COMMANDS)]
    assert {"generate", "bench", "serve", "train", "export-custom-generate"} <= set(COMMANDS)
    for line, (code, out, _, loaded) in zip(lines, run_all(lines), strict=True):
        assert (code or 0, loaded) == (0, []), line
        assert out.strip()


def test_the_package_is_free_until_something_is_asked_of_it() -> None:
    code = "import sys, dynexit; print('numpy' in sys.modules, 'torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "False"]


def test_every_name_of_the_package_is_there() -> None:
    assert all(getattr(dynexit, name) is not None for name in dynexit.__all__)
    assert set(dynexit.__all__) <= set(dir(dynexit))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dynexit.nothing  # noqa: B018


@pytest.fixture(scope="module")
def taken():
    with socket.create_server(("127.0.0.1", 0)) as busy:
        yield busy.getsockname()[1]


@pytest.fixture(scope="module")
def refused(tmp_path_factory, taken):
    """Command lines with what is wrong with each."""
    folder = tmp_path_factory.mktemp("refused")
    recipe = Path(__file__).parents[2] / "recipes" / "bundled.yaml"
    missing = str(folder / "missing" / "file")
    task = ("--task", f"jsonl:{missing}")
    odd = folder / "odd"
    (odd / "bare").mkdir(parents=True)
    (odd / "config.json").write_text('{"architectures": ["Odd"]}')
    (folder / "file").write_text("{}")
    (folder / "latin").write_bytes(b"caf\xe9")
    (folder / "old.gguf").write_text("")
    return [
        (["generate", "x", "--temperature", "-1"], "temperature is -1.0"),
        (["generate", "x", "--temperature", "nan"], "temperature is nan"),
        (["generate", "x", "--top-p", "0"], "top_p is 0.0"),
        (["generate", "x", "--acceptance", "maybe"], "acceptance is 'maybe'"),
        (["generate", "x", "-n", "0"], "max_new_tokens is 0"),
        (["generate", "x", "--method", "nothing"], "method 'nothing' is not known"),
        (["generate", "x", "--method", "del:nothing=1"], "no setting 'nothing'"),
        (["generate", "x", "--method", "vanilla", "--exit-layer", "3"], "no setting 'exit_layer'"),
        (["generate", "x", "--method", "two-model"], "give --draft-model"),
        (["generate", "x", "--compare", "--method", "nothing"], "method 'nothing' is not known"),
        (["generate", "x", "--compare", "--set", "nothing=1"], "a setting 'nothing'"),
        (["generate", "x", "--dtype", "int3"], "dtype 'int3' is not known"),
        (["generate", "x", "--device", "toaster"], "device 'toaster' is not known"),
        (["generate", "x", "--runtime", "fast"], "runtime 'fast' is not known"),
        (["generate", "-f", missing], "cannot read"),
        (["generate", "-f", str(odd)], "it is a folder: give a file"),
        (["generate", "-f", str(folder / "latin")], "it is not UTF-8 text"),
        (["generate", "x", "--temperature", "inf"], "temperature is inf: it must be finite"),
        (["generate", "x", "--stop", ""], "a stop string is empty"),
        (["serve", "--grace", "inf"], "grace is inf: it must be finite"),
        (["report", str(folder / "file"), "-o", str(folder / "file")], "is a file: give a folder"),
        (["replay", "x", "--cost", str(folder / "old.gguf")], "no such file"),
        (
            ["train", str(folder / "old.gguf"), "-o", missing, "--data-dir", str(folder)],
            "old.gguf is empty.",
        ),
        (["generate", ""], "the prompt is empty"),
        (["generate", "x", "-m", "./nothing"], "folder './nothing' does not exist"),
        (["generate", "x", "-m", "nothing/"], "folder 'nothing/' does not exist"),
        (["generate", "x", "-m", "nothing.gguf"], "file 'nothing.gguf' does not exist"),
        (["generate", "x", "-m", str(folder / "file")], "does not end in .gguf"),
        (["generate", "x", "-m", str(odd / "bare")], "config.json is missing"),
        (["generate", "x", "-m", str(odd)], "architecture 'Odd' is not supported"),
        (["generate", "x", "--draft-model", "nothing/"], "folder 'nothing/' does not exist"),
        (["info", "nothing/"], "folder 'nothing/' does not exist"),
        (["perplexity", "nothing/", str(folder / "file")], "folder 'nothing/' does not exist"),
        (["bench", "-o", missing, "-m", "nothing/", *task], "folder 'nothing/' does not exist"),
        (["info", "-f", missing], "cannot read"),
        (["info", "--runtime", "fast"], "runtime 'fast' is not known"),
        (["check", "--method", "nothing", *task], "method 'nothing' is not known"),
        (["check", *task], "missing"),
        (["bench", "-o", missing, "--method", "nothing", *task], "method 'nothing' is not known"),
        (["bench", "-o", missing, "--temperature", "-1", *task], "temperature is -1.0"),
        (["bench", "-o", missing, "--dtype", "int3", *task], "dtype 'int3' is not known"),
        (["bench", "-o", missing, *task], "missing"),
        (["sweep", "-o", missing, "--lengths", "a", *task], "not a list of numbers"),
        (["serve", "--port", str(taken)], f"port {taken} is in use: choose another"),
        (["serve", "--port", "99999"], "a port is a number from 0 to 65535.\n"),
        (["serve", "--method", "nothing"], "method 'nothing' is not known"),
        (["serve", "--method", "two-model"], "give --draft-model"),
        (["serve", "--running", "0"], "running is 0"),
        (["serve", "--cache-memory", "much"], "cache_memory is 'much': give bytes, such as"),
        (["serve", "--log-level", "loud"], "log level 'loud'"),
        (["demo", "--port", str(taken)], f"cannot listen on 127.0.0.1:{taken}"),
        (["synth", str(folder)], "is not empty"),
        (["synth", missing, "--like", "huge"], "shape 'huge' is not known"),
        (["synth", missing, "--dtype", "int3"], "dtype 'int3' is not known"),
        (["synth", missing, "--zipf", "9"], "--zipf 9.0"),
        (["synth", missing, "--type", "q4_0"], "does not end in .gguf"),
        (["synth", f"{missing}.gguf", "--type", "q4_k"], "type 'q4_k' cannot be written"),
        (["synth", str(folder / "old.gguf")], "already exists"),
        (["quantize", "bundled", f"{missing}.gguf", "--type", "q4_k_m"], "type 'q4_k_m' cannot"),
        (["quantize", "bundled", str(folder / "a.gguf"), "--head-type", "q3"], "type 'q3' cannot"),
        (["quantize", "bundled", missing], "does not end in .gguf"),
        (["quantize", "bundled", f"{missing}.gguf"], "does not exist: make it first"),
        (["quantize", "bundled", str(folder / "old.gguf")], "already exists"),
        (["trace", "-o", missing], "ends in .safetensors"),
        (["trace", "-o", f"{missing}.safetensors"], "does not exist: make it first"),
        (["replay", missing], "cannot be read as a trace"),
        (["replay", missing, "--method", "nothing"], "method 'nothing' is not known"),
        (["replay", missing, "--save-cost", missing], "does not exist: make it first"),
        (["roofline", "--rows", "a"], "not a list of numbers"),
        (["roofline", "--plot", f"{missing}.png"], "does not exist: make it first"),
        (["train", missing, "-o", missing, "--data-dir", str(folder)], "cannot read recipe"),
        (["train", str(recipe), "-o", missing, "--data-dir", missing], "is not a folder"),
        (
            ["train", str(recipe), "-o", str(folder / "file"), "--data-dir", str(folder)],
            "is a file: give a folder",
        ),
        (["export-custom-generate", missing], "missing"),
    ]


def test_what_needs_no_model_is_checked_before_anything_is_loaded(refused) -> None:
    found = run_all([arguments for arguments, _ in refused])
    for (arguments, sentence), (code, out, err, loaded) in zip(refused, found, strict=True):
        assert (code, out) == (2, ""), arguments
        assert err.startswith("error: "), arguments
        assert err.count("\n") == 1, arguments
        assert sentence in err, arguments
        assert set(loaded) <= {"fastapi"}, arguments  # which a server looks for, quickly


INTERRUPTING = """
import os, signal, sys

def watch(event, arguments):
    if event == {event!r} and str(arguments[0]).endswith({name!r}):
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(watch)
"""


@pytest.mark.parametrize(
    ("event", "name"),
    [
        ("import", "rich.console"),
        ("import", "torch._C"),
        ("import", "torch.nn"),
        ("open", "tokenizer.json"),
    ],
)
def test_an_interrupt_while_loading_is_one_line(tmp_path, checkpoint, event, name) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTING.format(event=event, name=name))
    done = subprocess.run(
        [sys.executable, "-m", "dynexit", "generate", "Hello", "-m", str(checkpoint)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_loading_shows_a_spinner_on_a_terminal_only(monkeypatch) -> None:
    shown = {}
    for terminal in (True, False):
        told = io.StringIO()
        monkeypatch.setattr(options, "notes", Console(file=told, force_terminal=terminal))
        with options.starting("loading a model"):
            pass
        shown[terminal] = told.getvalue()
    assert "loading a model" in shown[True]
    assert shown[True].rindex("\x1b[?25h") > shown[True].rindex("\x1b[?25l")
    assert shown[False] == ""
