"""What methods, models and tasks are called in a report, and the order that methods stand in."""

from functools import cache
from pathlib import PurePath
from typing import Any

from dynexit.bench.passes import Roofline
from dynexit.decoding.controllers import methods
from dynexit.decoding.controllers.layerskip import LayerSkip
from dynexit.methods import split_method

FixedPair = tuple[int, int]  # exit layer, speculation length

VANILLA = "vanilla"
LETTERS = {
    "exit_layer": "E",
    "speculation_length": "d",
    "draft_vocabulary": "V",
    "max_layer": "max",
}
ORDER = (  # of this package's methods, each with its variants
    VANILLA,
    *("layerskip", "finite-state", "draft-verify"),
    *("del", "del-e", "del-e-lim", "del-d"),
    *("auto", "two-model", "early-exit"),
)


def rank(method: str) -> tuple[int, bool]:
    """Place in a table: the package's methods, then all others; settings after none."""
    name = split_method(method)[0]
    return ORDER.index(name) if name in ORDER else len(ORDER), name != method


def fixed_pair(method: str) -> FixedPair | None:
    """(E, d) of a layerskip method that names its exit layer; None of every other."""
    name, settings = split_method(method)
    if name != "layerskip" or "exit_layer" not in settings:
        return None
    return settings["exit_layer"], settings.get("speculation_length", LayerSkip.speculation_length)


def pair_label(pair: FixedPair) -> str:
    """As the paper writes it: "(5-3)"."""
    return f"({pair[0]}-{pair[1]})"


def short(method: str) -> str:
    """For a figure: a method's settings by their letters."""
    for name, letter in LETTERS.items():
        method = method.replace(f"{name}=", f"{letter}=")
    return method


def model_label(model: str) -> str:
    """A hub id as it is; of a folder only its own name."""
    path = PurePath(model)
    return path.name if path.is_absolute() or model.startswith(".") else model


def roofline_label(found: Roofline) -> str:
    """A model and where it ran, as far as the file says: "bundled, bfloat16, native, 2 threads"."""
    said = [str(found.machine[name]) for name in ("dtype", "runtime") if name in found.machine]
    threads = found.machine.get("threads")
    counted = [f"{threads} thread{'' if threads == 1 else 's'}"] if threads else []
    return ", ".join([model_label(found.model), *said, *counted])


def task_label(task: str) -> str:
    """A task's name; of a user's file of prompts only the file's own."""
    kind, colon, file = task.partition(":")
    return kind + colon + PurePath(file).name


def prompt_label(task: str, example: str) -> str:
    """An example's id; with its task where that does not name it already."""
    name = task_label(task)
    return example if name.lower() in example.lower() else f"{name} {example}"


def reads_shadow(method: str) -> bool:
    """Whether the method unembeds shadow tokens; a method of a user's own is not asked."""
    return bool(_trait(method, "reads_shadow", False))


def lossless(method: str) -> bool:
    """Whether the method promises vanilla's text; a method of a user's own is not asked."""
    return bool(_trait(method, "lossless", True))


def contends(method: str) -> bool:
    """Whether it may be called the best: vanilla is the measure, a lossy text is another."""
    return method != VANILLA and lossless(method)


@cache
def _trait(method: str, name: str, otherwise: Any) -> Any:
    factory = methods().get(split_method(method)[0])
    return otherwise if factory is None else getattr(factory(), name)
