"""What methods, models and tasks are called in a report, and how its markdown is written."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import PurePath
from typing import Any, NamedTuple

from dynexit.bench.passes import Roofline
from dynexit.bench.report.speeds import FixedPair, Interval
from dynexit.decoding.controllers import methods
from dynexit.decoding.controllers.layerskip import LayerSkip
from dynexit.methods import split_method

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
    *("auto", "skip", "swift", "clasp", "window", "two-model", "diffuspec"),
    *("lookahead", "jacobi", "early-exit"),
)
NONE = "-"
PREFIXES = ("", "k", "M", "G", "T", "P", "E")


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


def drafts_blocks(method: str) -> bool:
    """Whether a diffusion model drafts: records do not tell how many rows its passes have."""
    return _trait(method, "second_model", None) == "diffusion"


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


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table whose first `left` columns are text; the others are numbers, to the right."""
    rules = [":---" if i < left else "---:" for i in range(len(headings))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, rules, *rows))


def bullets(items: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {item}" for item in items)


def code(text: str) -> str:
    """Taken literally, also inside a table."""
    return f"`{' '.join(text.split()).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def bold(text: str) -> str:
    """Set off: of numbers the best, and no other."""
    return f"**{text}**"


class Cell(NamedTuple):
    """What stands in a table, and what it is compared by; None takes no part."""

    text: str
    value: float | None = None


def best_in_bold(rows: Iterable[Sequence[Cell]]) -> list[list[str]]:
    """Rows as text, the highest values of each column bold."""
    found = list(rows)
    best = [
        max((c.value for c in column if c.value is not None), default=None)
        for column in zip(*found, strict=True)
    ]
    return [[_marked(cell, top) for cell, top in zip(row, best, strict=True)] for row in found]


def _marked(cell: Cell, best: float | None) -> str:
    return bold(cell.text) if best is not None and cell.value == best else cell.text


def gain(value: float | None) -> float | None:
    """A speedup that is one: what is no faster than vanilla is the best of nothing."""
    return value if value is not None and value > 1 else None


def fixed(value: float | None, digits: int = 2, unit: str = "") -> str:
    """Such as "1.50 ms"."""
    return NONE if value is None else f"{value:.{digits}f}{unit}"


def times(value: float | None) -> str:
    """A speedup: "1.42x"."""
    return fixed(value, 2, "x")


def percent(share: float | None, digits: int = 0) -> str:
    """Such as "42 %"."""
    return NONE if share is None else f"{100 * share:.{digits}f} %"


def within(value: float | None, bounds: Interval | None) -> str:
    """A speedup with its interval: "1.42x [1.31, 1.55]"."""
    if value is None or bounds is None:
        return times(value)
    return f"{times(value)} [{bounds[0]:.2f}, {bounds[1]:.2f}]"


def counted(number: int, noun: str) -> str:
    """Such as "1 prompt" and "2 prompts"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def scaled(value: float | None, unit: str = "") -> str:
    """Three digits and a decimal prefix: "16.9M", or with a unit "16.9 MB"."""
    if value is None:
        return NONE
    step = 0
    while abs(value) >= 999.5 and step < len(PREFIXES) - 1:
        value, step = value / 1e3, step + 1
    number = f"{value:#.3g}".rstrip(".") if step else f"{value:.0f}"
    return f"{number}{' ' if unit else ''}{PREFIXES[step]}{unit}"
