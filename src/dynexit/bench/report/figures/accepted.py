"""How many drafted tokens a round keeps."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dynexit.bench.report.figures.base import Figure
from dynexit.bench.report.figures.style import canvas, colours, note
from dynexit.bench.report.naming import short
from dynexit.bench.report.rounds import pooled
from dynexit.bench.report.study import Study

COLUMNS = 3
SHOWN = 6
LONG_NAME = 30


def _draw(studies: Sequence[Study]) -> Canvas | None:
    study = studies[0]
    drafting = [m for m in study.methods if pooled(study.of(m)).drafted.any()]
    drafting = study.fastest(drafting, SHOWN)
    if not drafting:
        return None
    columns = min(COLUMNS, len(drafting))
    lines = -(-len(drafting) // columns)
    figure = canvas(0.6 + 1.5 * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes, method in zip(panels.flat, drafting, strict=False):
        _bars(axes, study, method)
    for axes in panels.flat[len(drafting) :]:
        axes.set_visible(False)
    for axes in panels.flat[max(0, len(drafting) - columns) : len(drafting)]:
        axes.set_xlabel("accepted in a round")
        axes.tick_params(labelbottom=True)
    for axes in panels[:, 0]:
        axes.set_ylabel("share of rounds")
    return figure


def _bars(axes: Axes, study: Study, method: str) -> None:
    accepted = pooled(study.of(method)).accepted
    counts = np.bincount(accepted)
    axes.bar(
        np.arange(len(counts)), counts / len(accepted), width=0.8, color=colours(study)[method]
    )
    axes.set_title(short(method)[:LONG_NAME])
    note(axes, f"mean {accepted.mean():.2f}", (1, 0.95), ha="right", va="top")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


FIGURES = (
    Figure(
        name="accepted",
        title="Accepted tokens of a round",
        section="Exit layers and drafts",
        caption=(
            "Share of all rounds, plain steps among them, that keep so many drafted tokens (each "
            "adds one token of the target's). Of more than six methods the fastest are drawn."
        ),
        needs="records of any method that drafts",
        draw=_draw,
    ),
)
