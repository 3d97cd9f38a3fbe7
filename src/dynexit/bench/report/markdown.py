"""Pieces of markdown, and how numbers are written in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dynexit.bench.report.timing import Interval

NONE = "-"
PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table whose first `left` columns are text; the others are numbers, to the right."""
    rules = [":---" if i < left else "---:" for i in range(len(headings))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, rules, *rows))


def code(text: str) -> str:
    """Taken literally, also inside a table."""
    return f"`{' '.join(text.split()).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def bold(text: str) -> str:
    """Set off: of numbers the best, and no other."""
    return f"**{text}**"


@dataclass(frozen=True)
class Cell:
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


def bullets(items: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {item}" for item in items)


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
