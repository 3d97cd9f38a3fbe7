"""The confidence below which drafting stops, as a text goes on."""

from collections.abc import Sequence

from matplotlib.figure import Figure as Canvas

from dynexit.bench.report.figures.base import Figure
from dynexit.bench.report.figures.curves import curves
from dynexit.bench.report.figures.style import canvas
from dynexit.bench.report.naming import DEL, short
from dynexit.bench.report.rounds import pooled
from dynexit.bench.report.study import Study

SHOWN = (DEL, "draft-verify")


def _draw(studies: Sequence[Study]) -> Canvas | None:
    study = studies[0]
    methods = [method for name in SHOWN if (method := _first(study, name)) is not None]
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


def _first(study: Study, name: str) -> str | None:
    """The first method of this name that had a threshold."""
    own = (method for method in study.methods if method.split(":")[0] == name)
    return next((m for m in own if pooled(study.of(m)).mean_threshold is not None), None)


FIGURES = (
    Figure(
        name="threshold",
        title="Confidence threshold over rounds",
        section="Exit layers and drafts",
        caption=(
            "Drafting stops after the first token whose probability is below it. Mean over the "
            "texts of a task, of the rounds that had a threshold."
        ),
        needs="records of `del` or `draft-verify` long enough for a threshold to be set",
        draw=_draw,
    ),
)
