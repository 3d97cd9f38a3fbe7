"""The confidence below which drafting stops, as a text goes on."""

from collections.abc import Sequence

from matplotlib.figure import Figure as Canvas

from dynexit.bench.report.figures.base import Figure
from dynexit.bench.report.figures.curves import curves
from dynexit.bench.report.figures.style import canvas
from dynexit.bench.report.naming import short
from dynexit.bench.report.rounds import pooled
from dynexit.bench.report.study import Study

SHOWN = 3  # methods


def _draw(studies: Sequence[Study]) -> Canvas | None:
    study = studies[0]
    found = (m for m in study.methods if pooled(study.of(m)).mean_threshold is not None)
    methods = list(found)[:SHOWN]
    if not methods:
        return None
    figure = canvas(2.8)
    panels = figure.subplots(1, len(methods), squeeze=False, sharey=True)[0]
    for axes, method in zip(panels, methods, strict=True):
        last = axes is panels[-1]
        curves(axes, study, method, lambda r: r.mean_threshold, named=last)
        axes.set_title(short(method))
        axes.set_xlabel("round")
    panels[0].set_ylabel("confidence threshold")
    return figure


FIGURES = (
    Figure(
        name="threshold",
        title="Confidence threshold over rounds",
        section="Exit layers and drafts",
        caption=(
            "Drafting stops after the first token whose probability is below it. Mean over the "
            "texts of a task, of the rounds that had a threshold. At most three methods are drawn."
        ),
        needs="texts long enough for a method to set a threshold in them",
        draw=_draw,
    ),
)
