"""What DEL chooses as a text goes on, and how often its drafts are accepted."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from dynexit.bench.report.figures.base import Figure
from dynexit.bench.report.figures.style import canvas, grid_lines, label_ends, task_colours
from dynexit.bench.report.naming import DEL, task_label
from dynexit.bench.report.rounds import Value, acceptance_rate, mean_exit_layer, over_rounds
from dynexit.bench.report.study import Study


def _draw(studies: Sequence[Study]) -> Canvas | None:
    study = studies[0]
    if not any(sample.record.statistics.drafted for sample in study.of(DEL)):
        return None
    figure = canvas(4.2)
    above, below = figure.subplots(2, 1, sharex=True)
    curves(above, study, DEL, mean_exit_layer, bottom=0)
    above.set_ylabel("exit layer")
    curves(below, study, DEL, acceptance_rate, bottom=0, top=1)
    below.set_ylabel("accepted / drafted")
    below.set_xlabel("round")
    return figure


def curves(
    axes: Axes,
    study: Study,
    method: str,
    value: Value,
    bottom: float | None = None,
    top: float | None = None,
) -> None:
    """A curve over rounds for each task, named at its end."""
    ends = []
    for task, colour in task_colours(study).items():
        rounds, values = over_rounds(study.of(method, task), value)
        if rounds:
            axes.plot(rounds, values, color=colour, marker="o" if len(rounds) == 1 else "")
            ends.append((values[-1], task_label(task), colour))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom, top)
    grid_lines(axes, "y")
    label_ends(axes, ends)


FIGURES = (
    Figure(
        name="adaptation",
        title="Exit layer and acceptance over rounds, DEL",
        section="DEL and its ablations",
        caption=(
            "Means over the texts of a task, while at least half of them go on. Exit layer: over "
            "the rounds that drafted. Neighbouring rounds are averaged to at most 40 points."
        ),
        needs="records of method `del`",
        draw=_draw,
    ),
)
