"""Imports run one way, and heavy packages stay in their own rooms."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import dynexit

SOURCE = Path(dynexit.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
# The first of these that a file lies in decides what of ours it may import. "dynexit" itself stands
# for the names that users import.
ROOMS = {
    "model": "model plain errors",
    "decoding.controllers": "decoding.controllers decoding.plans decoding.records decoding.facts "
    "decoding.costs decoding.paying decoding.imagining model.drafting_rule model.skips "
    "model.windows errors plain setting_types",
    "decoding": "decoding model rates plain errors",
    "costs": "costs decoding model environment plain errors",
    "learning.finding": "learning.learned model errors",
    "learning.learned": "decoding model plain errors",
    "learning": "learning replay costs decoding model environment language_model plain errors",
    "training": "training model plain errors",
    "tasks": "tasks errors",
    "bench": "bench tasks decoding model environment language_model methods plain rates errors "
    "lifetime",
    "replay": "replay costs decoding model language_model methods plain rates errors",
    "serve": "serve agreement decoding model language_model methods schema_words errors lifetime",
    "integrations": "integrations preparing decoding model language_model methods errors dynexit",
    "cli": "cli bench serve integrations training learning replay tasks costs decoding model "
    "agreement asking comparing generation language_model methods perplexity plain rates "
    "skip_search skips_found schema_words sessions shapes synth errors dynexit",
    "errors": "",
    "lifetime": "",
    "rates": "",
    "schema_words": "",
    "plain": "errors",
    "setting_types": "plain errors",
    "methods": "decoding.controllers plain setting_types errors",
    "environment": "model",
    "shapes": "model errors",
    "synth": "model random_blocks shapes training.vocabulary",
    "random_blocks": "model errors",
    "asking": "decoding errors",
    "agreement": "costs decoding model",
    "preparing": "agreement costs decoding model errors",
    "generation": "decoding",
    "sessions": "generation decoding model",
    "loaded_model": "agreement preparing asking costs decoding generation learning.finding "
    "learning.learned model skips_found errors",
    "request": "loaded_model asking decoding errors",
    "language_model": "agreement preparing asking decoding generation learning.finding "
    "loaded_model methods model request sessions errors",
    "comparing": "decoding language_model",
    "perplexity": "language_model model errors",
    "skip_search": "decoding language_model model errors",
    "skips_found": "model plain errors",
    "__main__": "cli errors",
    "dynexit": "decoding generation integrations language_model learning sessions errors",
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
LEAN = ("model", "decoding", "training")


def name_of(file):
    parts = ["dynexit", *file.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts).removesuffix(".__init__")


def within(module, room):
    return module == room or module.startswith(f"{room}.")


def imports_of(tree, module, is_package):
    """Absolute names of all modules that a file imports, also inside functions and for type
    checkers.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")
            base = base[: len(base) - node.level + is_package] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{origin}.{alias.name}"  # `from dynexit import model`
                yield inner if inner in MODULES else origin


def imported_by(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return set(imports_of(tree, name_of(file), file.name == "__init__.py"))


MODULES = {name_of(file): file for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_run_one_way(file):
    allowed = ROOMS[room_of(file)].split()
    ours = {short(module) for module in imported_by(file) if within(module, "dynexit")}
    assert not {module for module in ours if not any(within(module, one) for one in allowed)}


def short(module):
    return module.removeprefix("dynexit.")


def room_of(file):
    """A file that lies in none fails: it needs a line of ROOMS."""
    return next(room for room in ROOMS if within(short(name_of(file)), room))


def test_no_files_import_one_another_in_a_circle():
    imports = {(module, other) for module, file in MODULES.items() for other in imported_by(file)}
    assert not circle({i for i in imports if {*i} <= MODULES.keys() and i[0] != i[1]})


def circle(imports):
    """Modules that import one another in a circle, if there are any."""
    order = TopologicalSorter()
    for module, other in imports:
        order.add(module, other)
    try:
        order.prepare()
    except CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_heavy_packages_stay_in_their_rooms(file):
    if not any(within(short(name_of(file)), room) for room in LEAN):
        return
    assert not {m for m in imported_by(file) if m.split(".")[0] in HEAVY}


def test_the_rule_can_fail():
    source = "from dynexit import decoding\nfrom ..decoding import loop\nimport dynexit.serve.http"
    found = set(imports_of(ast.parse(source), "dynexit.model.cache", is_package=False))
    assert {"dynexit.decoding", "dynexit.decoding.loop", "dynexit.serve.http"} <= found
    assert not within("modelling", "model")
    assert circle({("a", "b"), ("b", "c"), ("c", "b")}) in (["b", "c", "b"], ["c", "b", "c"])
    assert not circle({("a", "b"), ("b", "c"), ("a", "c")})
    assert {room_of(file) for file in FILES} == set(ROOMS)


def test_importing_dynexit_imports_nothing_heavy():
    heavy = ("transformers", *HEAVY)
    script = f"import sys, dynexit; print(*(m for m in {heavy} if m in sys.modules))"
    command = [sys.executable, "-c", script]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.split() == []
