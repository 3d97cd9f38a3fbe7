"""Speedup of every method, task by task and overall."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from dynexit.bench.report.figures.base import Figure
from dynexit.bench.report.figures.style import (
    FAINT,
    GREY,
    broken,
    canvas,
    colours,
    grid_lines,
    label_ends,
    markers,
)
from dynexit.bench.report.naming import VANILLA, short, task_label
from dynexit.bench.report.study import Study

SHOWN = 7  # methods
LINE = 75  # letters under the axis, side by side
SPREAD = 0.7  # of a task's width that its methods share


def _draw(studies: Sequence[Study]) -> Canvas | None:
    study = studies[0]
    methods = study.fastest((m for m in study.methods if m != VANILLA), SHOWN)
    if not methods:
        return None
    figure = canvas(3.4)
    axes = figure.subplots()
    groups: list[str | None] = [*study.tasks, *([None] if len(study.tasks) > 1 else [])]
    for place, method in enumerate(methods):
        shift = SPREAD * ((place + 0.5) / len(methods) - 0.5)
        _dots(axes, study, method, groups, shift)
    _furnish(axes, groups)
    figure.legend(loc="outside upper left", ncols=4, handletextpad=0.1, columnspacing=1.2)
    return figure


def _dots(
    axes: Axes, study: Study, method: str, groups: Sequence[str | None], shift: float
) -> None:
    found = [(i, s) for i, task in enumerate(groups) if (s := study.total(method, task).speedup)]
    colour = colours(study)[method]
    for i, speedup in found:
        low, high = study.interval(method, groups[i]) or (speedup, speedup)
        axes.plot([i + shift] * 2, [low, high], color=colour, linewidth=1.4)
    places, speedups = [i + shift for i, _ in found], [s for _, s in found]
    marker = markers(study)[method]
    axes.plot(places, speedups, marker, color=colour, label=short(method))


def _furnish(axes: Axes, groups: Sequence[str | None]) -> None:
    names = [
        "all" if task is None else broken(task_label(task), LINE // len(groups)) for task in groups
    ]
    axes.set_xticks(range(len(groups)), names)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    for i in range(1, len(groups)):
        axes.axvline(i - 0.5, color=FAINT, linewidth=0.8)
    axes.axhline(1, color=GREY, linewidth=1, zorder=1)
    axes.set_ylim(bottom=min(0.9, axes.get_ylim()[0]))
    low, high = axes.get_ylim()
    if low < 1 < high:
        label_ends(axes, [(1, VANILLA, GREY)])
    axes.set_ylabel("speedup over vanilla (x)")
    grid_lines(axes, "y")


FIGURES = (
    Figure(
        name="speedup",
        title="Speedup by task",
        section="Speed",
        caption=(
            "Speedup over vanilla, with 95 % bootstrap intervals over prompts. Of more than seven "
            "methods the fastest are drawn."
        ),
        needs="records of any method beside vanilla",
        draw=_draw,
    ),
)
