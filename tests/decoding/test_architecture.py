"""Imports run one way, and heavy packages stay in their own rooms."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dynexit

SOURCE = Path(dynexit.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
# The first room that a file lies in decides what of ours it may import.
ROOMS = {
    "dynexit.model": ("dynexit.model", "dynexit.plain", "dynexit.errors"),
    "dynexit.decoding.controllers": (
        "dynexit.decoding.controllers",
        "dynexit.decoding.records",
        "dynexit.costs.paying",
        "dynexit.costs.table",
        "dynexit.errors",
        "dynexit.plain",
        "dynexit.setting_types",
    ),
    "dynexit.decoding": ("dynexit.decoding", "dynexit.model", "dynexit.errors"),
    "dynexit.training": ("dynexit.training", "dynexit.model", "dynexit.plain", "dynexit.errors"),
    "dynexit.tasks": ("dynexit.tasks", "dynexit.errors"),
    "dynexit.bench": (
        "dynexit.bench",
        "dynexit.tasks",
        "dynexit.decoding",
        "dynexit.model",
        "dynexit.environment",
        "dynexit.language_model",
        "dynexit.methods",
        "dynexit.plain",
        "dynexit.rates",
        "dynexit.errors",
        "dynexit.lifetime",
    ),
    "dynexit.costs": (
        "dynexit.costs",
        "dynexit.decoding",
        "dynexit.model",
        "dynexit.environment",
        "dynexit.plain",
        "dynexit.errors",
    ),
    "dynexit.replay": (
        "dynexit.replay",
        "dynexit.costs",
        "dynexit.decoding",
        "dynexit.model",
        "dynexit.language_model",
        "dynexit.methods",
        "dynexit.plain",
        "dynexit.rates",
        "dynexit.errors",
    ),
    "dynexit.serve": (
        "dynexit.serve",
        "dynexit.decoding",
        "dynexit.model",
        "dynexit.language_model",
        "dynexit.methods",
        "dynexit.errors",
        "dynexit.lifetime",
    ),
}
HEAVY = (
    "fastapi",
    "prometheus_client",
    "matplotlib",
    "datasets",
    "uvicorn",
    "pandas",
    "lm_eval",
    "ray",
    "sacrebleu",
)
LEAN = ("dynexit.model", "dynexit.decoding", "dynexit.training")


def name_of(file):
    parts = ["dynexit", *file.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts).removesuffix(".__init__")


def within(module, room):
    return module == room or module.startswith(f"{room}.")


def imports_of(tree, module, is_package):
    """Absolute names of all that a file imports, also inside functions and for type checkers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")
            base = base[: len(base) - node.level + is_package] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield origin
            if origin == "dynexit" or is_room(origin):  # `from dynexit import model`
                yield from (f"{origin}.{alias.name}" for alias in node.names)


def is_room(module):
    folder = SOURCE.joinpath(*module.split(".")[1:])
    return within(module, "dynexit") and (folder / "__init__.py").exists()


def imported_by(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return set(imports_of(tree, name_of(file), file.name == "__init__.py"))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_run_one_way(file):
    room = next((room for room in ROOMS if within(name_of(file), room)), None)
    if room is None:
        return
    ours = {m for m in imported_by(file) if within(m, "dynexit")}
    wrong = {m for m in ours if not any(within(m, allowed) for allowed in ROOMS[room])}
    assert not wrong


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_heavy_packages_stay_in_their_rooms(file):
    if not any(within(name_of(file), room) for room in LEAN):
        return
    assert not {m for m in imported_by(file) if m.split(".")[0] in HEAVY}


def test_the_rule_can_fail():
    source = "from dynexit import decoding\nfrom ..decoding import loop\nimport dynexit.serve.http"
    found = set(imports_of(ast.parse(source), "dynexit.model.cache", is_package=False))
    assert {"dynexit.decoding", "dynexit.decoding.loop", "dynexit.serve.http"} <= found
    assert not any(within("dynexit.modelling", room) for room in ROOMS)
    assert {room for room in ROOMS if any(within(name_of(f), room) for f in FILES)} >= {
        "dynexit.model",
        "dynexit.decoding",
        "dynexit.decoding.controllers",
        "dynexit.training",
    }


def test_importing_dynexit_imports_nothing_heavy():
    heavy = ("transformers", *HEAVY)
    script = f"import sys, dynexit; print(*(m for m in {heavy} if m in sys.modules))"
    command = [sys.executable, "-c", script]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.split() == []
