"""DEL beside the best that a fixed pair could have done."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from dynexit.bench.report.figures.base import Figure
from dynexit.bench.report.figures.style import (
    BLACK,
    COLOURS,
    FAINT,
    GREY,
    canvas,
    grid_lines,
    note,
)
from dynexit.bench.report.grid import Grid, Strategy
from dynexit.bench.report.naming import DEL, VANILLA, task_label
from dynexit.bench.report.study import Study

MARKS = (("|", GREY), ("D", COLOURS[5]), ("s", BLACK), ("o", COLOURS[0]))


def _draw(studies: Sequence[Study]) -> Canvas | None:
    study = studies[0]
    grid = Grid.of(study)
    made = grid.method(study, DEL) if grid else None
    if made is None:
        return None
    strategies = [grid.best_overall, grid.best_per_task, grid.oracle, made]
    groups: list[str | None] = [*grid.tasks, *([None] if len(grid.tasks) > 1 else [])]
    figure = canvas(1.1 + 0.3 * len(groups))
    axes = figure.subplots()
    for place, task in enumerate(groups):
        found = [s for one in strategies if (s := one.speedup(task)) is not None]
        axes.plot([min(found), max(found)], [place] * 2, color=FAINT, linewidth=4, zorder=1)
    for strategy, (marker, colour) in zip(strategies, MARKS, strict=True):
        _marks(axes, strategy, groups, marker, colour)
    axes.axvline(1, color=GREY, linewidth=1)
    note(axes, VANILLA, (1, 1), ("data", "axes fraction"), (0, 2), color=GREY, ha="center")
    axes.set_yticks(range(len(groups)), ["all" if t is None else task_label(t) for t in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("speedup over vanilla (x)")
    grid_lines(axes, "x")
    figure.legend(loc="outside upper left", ncols=4, handletextpad=0.2, columnspacing=1.4)
    return figure


def _marks(
    axes: Axes, strategy: Strategy, groups: Sequence[str | None], marker: str, colour: str
) -> None:
    found = [(s, i) for i, task in enumerate(groups) if (s := strategy.speedup(task)) is not None]
    size, edge = (13, 2) if marker == "|" else (6.5, 0)
    axes.plot(
        *zip(*found, strict=True),
        marker=marker,
        linestyle="",
        color=colour,
        label=strategy.name,
        markersize=size,
        markeredgewidth=edge,
    )


FIGURES = (
    Figure(
        name="oracle",
        title="DEL against fixed pairs",
        section="Fixed pairs and the oracle",
        caption=(
            "Speedup over vanilla of DEL, of the best fixed pair overall, of each task's best, and "
            "of the oracle, which takes the best pair of every prompt after the fact."
        ),
        needs="records of `dynexit sweep`, with `del` on the same prompts",
        draw=_draw,
    ),
)
