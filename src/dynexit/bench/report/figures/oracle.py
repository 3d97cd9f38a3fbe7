"""Methods beside the best that a fixed pair could have done."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from dynexit.bench.report.figures.base import Figure
from dynexit.bench.report.figures.style import (
    BLACK,
    FAINT,
    GREY,
    canvas,
    colours,
    grid_lines,
    markers,
    note,
)
from dynexit.bench.report.grid import Grid, Strategy
from dynexit.bench.report.naming import VANILLA, short, task_label
from dynexit.bench.report.study import Study

HINDSIGHT = (("|", GREY), ("d", GREY), ("|", BLACK))  # best pair, best of each task, oracle
SHOWN = 5  # methods


def _draw(studies: Sequence[Study]) -> Canvas | None:
    study = studies[0]
    grid = Grid.of(study)
    made = _methods(study, grid)
    if not made:
        return None
    hindsight = (grid.best_overall, grid.best_per_task, grid.oracle)
    strategies = [*hindsight, *made]
    marks = [*HINDSIGHT, *((markers(study)[m.name], colours(study)[m.name]) for m in made)]
    groups: list[str | None] = [*grid.tasks, *([None] if len(grid.tasks) > 1 else [])]
    figure = canvas(1.1 + 0.3 * len(groups))
    axes = figure.subplots()
    for place, task in enumerate(groups):
        found = [s for one in strategies if (s := one.speedup(task)) is not None]
        axes.plot([min(found), max(found)], [place] * 2, color=FAINT, linewidth=4, zorder=1)
    for strategy, (marker, colour) in zip(strategies, marks, strict=True):
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


def _methods(study: Study, grid: Grid) -> list[Strategy]:
    """Those that have finished the grid's prompts, in the tables' order."""
    if not grid:
        return []
    others = (grid.method(study, method) for method in study.methods if method != VANILLA)
    return [strategy for strategy in others if strategy is not None][:SHOWN]


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
        label=short(strategy.name),
        markersize=size,
        markeredgewidth=edge,
    )


FIGURES = (
    Figure(
        name="oracle",
        title="Methods against fixed pairs",
        section="Fixed pairs and the oracle",
        caption=(
            "Speedup over vanilla of methods, of the best fixed pair overall, of each task's best, "
            "and of the oracle, which takes the best pair of every prompt after the fact. At most "
            "five methods are drawn."
        ),
        needs="records of `dynexit sweep`, and of any other method on the same prompts",
        draw=_draw,
    ),
)
