"""Time of passes by number of rows, beside the hardware limit."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import PercentFormatter

from dynexit.bench.passes import Point, Roofline
from dynexit.bench.report.figures import Figure, styled
from dynexit.bench.report.figures.style import (
    DPI,
    GREY,
    MARKERS,
    canvas,
    grid_lines,
    label_ends,
    note,
    scale_colours,
)
from dynexit.bench.report.wording import roofline_label
from dynexit.model.files import replacing

FLOOR: dict[str, Any] = {"linestyle": "--", "linewidth": 1.0}


def save_roofline(found: Roofline, file: Path) -> None:
    """Write the figure of one roofline; the suffix of `file` says in which format.

    Raises:
        DynexitError: the file cannot be written.
    """
    with styled(), replacing(file) as partial:
        draw_rooflines([found]).savefig(partial, dpi=DPI, format=file.suffix[1:])


def draw_rooflines(found: Sequence[Roofline]) -> Canvas:
    """Two panels for each roofline: milliseconds, and the share of the hardware limit reached."""
    figure = canvas(0.3 + 2.7 * len(found))
    panels = figure.subplots(len(found), 2, squeeze=False)
    for one, (times, shares) in zip(found, panels, strict=True):
        _times(times, one)
        _shares(shares, one)
        times.set_title(roofline_label(one), pad=16)
    for axes in panels[-1]:
        axes.set_xlabel("rows computed at once")
    return figure


def _times(axes: Axes, found: Roofline) -> None:
    """Milliseconds, with each context's hardware limit in the same colour."""
    for _, points, colour, marker in _lines(found):
        rows, floors = [p.rows for p in points], [p.floor_ms(found.limits) for p in points]
        axes.plot(rows, [p.total_ms for p in points], color=colour, marker=marker)
        axes.plot(rows, floors, color=colour, **FLOOR)
    axes.set_ylabel("ms a pass")
    _furnish(axes, found)
    note(axes, "dashed: least possible", (1, 1), offset=(0, 4), color=GREY, ha="right")


def _shares(axes: Axes, found: Roofline) -> None:
    """The hardware limit divided by the measured time."""
    ends = []
    for context, points, colour, marker in _lines(found):
        shares = [p.floor_ms(found.limits) / p.total_ms for p in points]
        axes.plot([p.rows for p in points], shares, color=colour, marker=marker)
        ends.append((shares[-1], f"{context:,} positions", colour))
    axes.axhline(1, color=GREY, **FLOOR)
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.set_ylabel("least possible / measured")
    _furnish(axes, found)
    label_ends(axes, ends)


def _lines(found: Roofline) -> Iterator[tuple[int, list[Point], str, str]]:
    """Contexts, their points, and how they are drawn."""
    colours = scale_colours(len(found.contexts))
    for place, context in enumerate(found.contexts):
        yield context, found.at(context), colours[place], MARKERS[place % len(MARKERS)]


def _furnish(axes: Axes, found: Roofline) -> None:
    axes.set_xscale("log", base=2)
    ticks = sorted({p.rows for p in found.points})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.tick_params(axis="x", which="minor", length=0)
    axes.set_ylim(bottom=0)
    grid_lines(axes, "y")


roofline = Figure(
    draw_rooflines,
    name="roofline",
    title="Passes and the least that they could cost",
    section="What a pass costs",
    caption=(
        "Layers and head, by the rows computed at once and the positions in the cache. Dashed: "
        "the least possible, bytes at the bandwidth or arithmetic at the rate measured beside "
        "them, whichever takes longer."
    ),
    needs="a file of `dynexit roofline --json`, given as `--roofline`",
    beside=True,
    subjects="rooflines",
)
