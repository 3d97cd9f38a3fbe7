"""The recipes' commands are ones that the command line knows."""

import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
import typer

from dynexit.bench.options import Options
from dynexit.bench.run import check_methods
from dynexit.cli import app
from dynexit.training.recipe import load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"


def commands_of(script: Path, tmp_path: Path, **environment: str) -> list[list[str]]:
    """The dynexit commands that a script runs, recorded instead of run."""
    log, recorder = tmp_path / "commands", tmp_path / "recorder"
    recorder.write_text(f'#!/bin/bash\nprintf "%q " "$@" >> {log}\necho >> {log}\n')
    recorder.chmod(recorder.stat().st_mode | stat.S_IXUSR)
    variables = {**os.environ, "DYNEXIT": str(recorder), "TORCHRUN": str(recorder), **environment}
    subprocess.run([script, tmp_path / "out", "--data-dir", "rows"], check=True, env=variables)
    return [shlex.split(line) for line in log.read_text().splitlines()]


def parsed(command: list[str]) -> dict[str, object]:
    """A command's parameters, as the command line reads them."""
    group = typer.main.get_command(app)
    name, *arguments = command
    return group.commands[name].make_context(name, list(arguments)).params  # type: ignore[attr-defined]


@pytest.mark.parametrize("pairs", ["paper", "script"])
def test_the_papers_table_is_run_whole(tmp_path: Path, pairs: str) -> None:
    *benches, report = commands_of(RECIPES / "reproduce.sh", tmp_path, PAIRS=pairs)
    assert len(benches) == 5
    together = ["--standalone", "--nproc-per-node", "4", "-m", "dynexit"]
    assert benches[-1][: len(together)] == together  # of no card is 70B
    benches[-1] = benches[-1][len(together) :]
    for command in benches:
        settings = parsed(command)
        methods = tuple(settings["method"])  # type: ignore[arg-type]
        assert [m.split(":")[0] for m in methods] == [
            "vanilla", "layerskip", "finite-state", "draft-verify", "del",
        ]  # fmt: skip
        assert methods[-1] == "del:analysis=full"
        check_methods(Options(methods=methods))
        assert (settings["num_samples"], settings["max_new_tokens"]) == (1000, 512)
    assert report[0] == "report"


def test_an_unknown_checkpoint_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [RECIPES / "reproduce.sh", tmp_path / "out"],
        env={**os.environ, "CHECKPOINTS": "llama9", "DYNEXIT": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "llama9" in done.stderr


def test_the_bundled_models_figures_are_run(tmp_path: Path) -> None:
    bench, sweep, _ = commands_of(RECIPES / "bundled_bench.sh", tmp_path)
    check_methods(Options(methods=tuple(parsed(bench)["method"])))  # type: ignore[arg-type]
    assert parsed(sweep)["exit_layers"] == "1-5,7"


def test_the_field_is_run_on_four_models(tmp_path: Path) -> None:
    (tmp_path / "out" / "prompts").mkdir(parents=True)
    files = {"CHAT": "chat.gguf", "EXITS": "exits.gguf", "BIG": str(tmp_path)}
    given = {**files, "EXTRA": "--method jacobi", "PROMPTS": "3"}
    commands = commands_of(RECIPES / "field.sh", tmp_path, **given)
    assert [command[0] for command in commands] == ["bench", "report"] * 4
    benches = [parsed(command) for command in commands[::2]]
    assert [one["num_samples"] for one in benches] == [3, 3, 3, 2]
    models = [[], *([file] for file in files.values())]
    assert [list(one["model"] or ()) for one in benches] == models
    for one in benches:
        methods = tuple(one["method"])  # type: ignore[arg-type]
        check_methods(Options(methods=methods))
        assert {"auto", "window", "clasp", "jacobi"} <= {*methods}


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.yaml")), ids=lambda f: f.name)
def test_training_recipes_are_read(file: Path) -> None:
    assert load_recipe(file).domains
