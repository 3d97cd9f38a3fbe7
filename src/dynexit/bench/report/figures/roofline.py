"""Passes over the rows computed at once: what they took, and the least that they could take."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import PercentFormatter

from dynexit.bench.passes import Roofline
from dynexit.bench.report.figures.base import Figure, rooflines, styled
from dynexit.bench.report.figures.style import COLOURS, DPI, GREY, MARKERS, canvas, grid_lines
from dynexit.bench.report.naming import roofline_label
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
    """A row of two panels for each: milliseconds, and the share of what is possible."""
    figure = canvas(0.3 + 2.7 * len(found))
    panels = figure.subplots(len(found), 2, squeeze=False)
    for one, (times, shares) in zip(found, panels, strict=True):
        _times(times, one)
        _shares(shares, one)
        times.set_title(roofline_label(one))
    for axes in panels[-1]:
        axes.set_xlabel("rows computed at once")
    return figure


def _times(axes: Axes, found: Roofline) -> None:
    """Milliseconds, each context's floor in its colour."""
    for place, context in enumerate(found.contexts):
        points = found.at(context)
        rows, floors = [p.rows for p in points], [p.floor_ms(found.limits) for p in points]
        _measured(axes, rows, [p.total_ms for p in points], place, f"{context:,} positions")
        axes.plot(rows, floors, color=COLOURS[place % len(COLOURS)], **FLOOR)
    axes.plot([], [], color=GREY, label="least possible", **FLOOR)
    axes.set_ylabel("ms a pass")
    _furnish(axes, found)
    axes.legend()


def _shares(axes: Axes, found: Roofline) -> None:
    """The floor over what was measured."""
    for place, context in enumerate(found.contexts):
        points = found.at(context)
        shares = [p.floor_ms(found.limits) / p.total_ms for p in points]
        _measured(axes, [p.rows for p in points], shares, place, f"{context:,} positions")
    axes.axhline(1, color=GREY, **FLOOR)
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.set_ylabel("least possible / measured")
    _furnish(axes, found)


def _measured(
    axes: Axes, rows: Sequence[int], values: Sequence[float], place: int, label: str
) -> None:
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
    axes.plot(rows, values, color=colour, marker=marker, label=label)


def _furnish(axes: Axes, found: Roofline) -> None:
    axes.set_xscale("log", base=2)
    ticks = sorted({p.rows for p in found.points})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.tick_params(axis="x", which="minor", length=0)
    axes.set_ylim(bottom=0)
    grid_lines(axes, "y")


FIGURES = (
    Figure(
        name="roofline",
        title="Passes and the least that they could cost",
        section="What a pass costs",
        caption=(
            "Layers and head, by the rows computed at once and the positions in the cache. Dashed: "
            "the least possible, bytes at the bandwidth or arithmetic at the rate measured beside "
            "them, whichever takes longer."
        ),
        needs="a file of `dynexit roofline --json`, given as `--roofline`",
        draw=draw_rooflines,
        beside=True,
        subjects=rooflines,
    ),
)
