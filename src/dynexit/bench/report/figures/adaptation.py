"""What methods choose as a text goes on, and how often their drafts are accepted."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure as Canvas

from dynexit.bench.report.columns import Rounds
from dynexit.bench.report.figures.base import Figure
from dynexit.bench.report.figures.curves import curves
from dynexit.bench.report.figures.style import canvas
from dynexit.bench.report.naming import short
from dynexit.bench.report.rounds import pooled
from dynexit.bench.report.study import Study

SHOWN = 3  # methods
LONG_NAME = 30


def _draw(studies: Sequence[Study]) -> Canvas | None:
    study = studies[0]
    methods = _adapting(study)
    if not methods:
        return None
    figure = canvas(4.2)
    panels = figure.subplots(2, len(methods), squeeze=False, sharex="col", sharey="row")
    for (above, below), method in zip(panels.T, methods, strict=True):
        last = method == methods[-1]  # below first: it has all rounds, and both share their x
        curves(below, study, method, lambda r: r.acceptance_rate, (0, 1), named=last)
        curves(above, study, method, _mean_exit, (0, None) if last else None, named=last)
        above.set_title(short(method)[:LONG_NAME])
        below.set_xlabel("round")
    panels[0, 0].set_ylabel("exit layer")
    panels[1, 0].set_ylabel("accepted / drafted")
    return figure


def _mean_exit(rounds: Rounds) -> float | None:
    return _early_exits(rounds).mean_exit_layer


def _early_exits(rounds: Rounds) -> Rounds:
    """Those that drafted with the target's own layers; a lookup has no exit."""
    return rounds.pick((rounds.drafted > 0) & (rounds.exit_layer > 0))


def _adapting(study: Study) -> list[str]:
    """Those that draft by more than one exit layer, in the tables' order."""
    exits = {method: _exit_layers(study, method) for method in study.methods}
    return [method for method in study.methods if exits[method] > 1][:SHOWN]


def _exit_layers(study: Study, method: str) -> int:
    return len(np.unique(_early_exits(pooled(study.of(method))).exit_layer))


FIGURES = (
    Figure(
        name="adaptation",
        title="Exit layer and acceptance over rounds",
        section="Exit layers and drafts",
        caption=(
            "Means over the texts of a task, while at least half of them go on. Exit layer: of "
            "the rounds that drafted with the model's own layers. Neighbouring "
            "rounds are averaged to at most 24 points. At most three methods are drawn."
        ),
        needs="records of a method that drafts by more than one exit layer",
        draw=_draw,
    ),
)
