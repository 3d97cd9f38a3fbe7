"""Options that are fields: typer sees them as it sees parameters."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from dynexit.cli.spreading import spread

COUNT = typer.Option("--count", "-c", min=1, help="How many.")


@dataclass(frozen=True)
class Sizes:
    count: Annotated[int, COUNT] = 2
    names: Annotated[list[str] | None, typer.Option("--name")] = None


@pytest.fixture
def told():
    return []


@pytest.fixture
def run(told):
    app = typer.Typer()

    @app.command()
    @spread
    def command(first: str, *, sizes: Sizes, last: bool = False) -> None:
        """What it does."""
        told.append((first, sizes, last))

    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_fields_are_options_and_arrive_as_the_dataclass(run, told):
    assert run("x").exit_code == 0
    assert run("y", "-c", "5", "--name", "a", "--name", "b", "--last").exit_code == 0
    assert told == [("x", Sizes(), False), ("y", Sizes(5, ["a", "b"]), True)]


def test_limits_and_help_are_those_of_the_fields(run, told):
    assert run("x", "--count", "0").exit_code == 2
    shown = run("--help").output
    assert "What it does." in shown
    assert "How many." in shown
    assert not told
