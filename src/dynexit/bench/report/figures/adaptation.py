"""What DEL chooses as a text goes on, and how often its drafts are accepted."""

from collections.abc import Sequence

from matplotlib.figure import Figure as Canvas

from dynexit.bench.report.figures.base import Figure
from dynexit.bench.report.figures.curves import curves
from dynexit.bench.report.figures.style import canvas
from dynexit.bench.report.naming import DEL
from dynexit.bench.report.rounds import pooled
from dynexit.bench.report.study import Study


def _draw(studies: Sequence[Study]) -> Canvas | None:
    study = studies[0]
    if not (samples := study.of(DEL)) or not pooled(samples).drafted.any():
        return None
    figure = canvas(4.2)
    above, below = figure.subplots(2, 1, sharex=True)
    curves(above, study, DEL, lambda r: r.mean_exit_layer, (0, None))
    above.set_ylabel("exit layer")
    curves(below, study, DEL, lambda r: r.acceptance_rate, (0, 1))
    below.set_ylabel("accepted / drafted")
    below.set_xlabel("round")
    return figure


FIGURES = (
    Figure(
        name="adaptation",
        title="Exit layer and acceptance over rounds, DEL",
        section="Exit layers and drafts",
        caption=(
            "Means over the texts of a task, while at least half of them go on. Exit layer: over "
            "the rounds that drafted. Neighbouring rounds are averaged to at most 24 points."
        ),
        needs="records of method `del`",
        draw=_draw,
    ),
)
