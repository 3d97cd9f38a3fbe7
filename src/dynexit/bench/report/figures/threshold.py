"""The confidence below which drafting stops, as a text goes on."""

from collections.abc import Sequence

from matplotlib.figure import Figure as Canvas

from dynexit.bench.report.figures.adaptation import curves
from dynexit.bench.report.figures.base import Figure
from dynexit.bench.report.figures.style import canvas
from dynexit.bench.report.naming import DEL, short
from dynexit.bench.report.rounds import mean_threshold, pooled
from dynexit.bench.report.study import Study

SHOWN = (DEL, "draft-verify")


def _draw(studies: Sequence[Study]) -> Canvas | None:
    study = studies[0]
    wanted = [method for name in SHOWN for method in study.methods if method.split(":")[0] == name]
    methods = [m for m in wanted if mean_threshold(pooled(study.of(m)).rounds) is not None][:2]
    if not methods:
        return None
    figure = canvas(2.6)
    panels = figure.subplots(1, len(methods), squeeze=False)[0]
    for axes, method in zip(panels, methods, strict=True):
        curves(axes, study, method, mean_threshold)
        axes.set_title(short(method))
        axes.set_xlabel("round")
    panels[0].set_ylabel("confidence threshold")
    return figure


FIGURES = (
    Figure(
        name="threshold",
        title="Confidence threshold over rounds",
        section="DEL and its ablations",
        caption=(
            "Drafting stops after the first token whose probability is below it. Mean over the "
            "texts of a task, of the rounds that had a threshold. The scales differ."
        ),
        needs="records of `del` or `draft-verify` long enough for a threshold to be set",
        draw=_draw,
    ),
)
