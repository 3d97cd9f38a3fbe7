"""Curves over rounds, one for each task: what two figures share."""

from matplotlib.axes import Axes

from dynexit.bench.report.figures.style import grid_lines, label_ends, task_colours
from dynexit.bench.report.naming import task_label
from dynexit.bench.report.rounds import Value, over_rounds
from dynexit.bench.report.study import Study


def curves(
    axes: Axes,
    study: Study,
    method: str,
    value: Value,
    limits: tuple[float, float | None] | None = None,
    named: bool = True,
) -> None:
    """Mean of `value` over the texts of each task, round by round.

    Args:
        limits: of the y axis.
        named: whether the tasks' names stand at the curves' ends.
    """
    ends = []
    for task, colour in task_colours(study, method).items():
        rounds, values = over_rounds(study.of(method, task), value)
        if rounds:
            axes.plot(rounds, values, color=colour, marker="o" if len(rounds) == 1 else "")
            ends.append((values[-1], task_label(task), colour))
    axes.set_xlim(left=0)
    if limits is not None:
        axes.set_ylim(*limits)
    grid_lines(axes, "y")
    if named:
        label_ends(axes, ends)
