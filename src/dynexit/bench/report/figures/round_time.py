"""Where the time of a round goes."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Canvas

from dynexit.bench.report.figures.base import Figure
from dynexit.bench.report.figures.style import HEAT, canvas, grid_lines, note
from dynexit.bench.report.naming import VANILLA, short
from dynexit.bench.report.rounds import pooled, split
from dynexit.bench.report.study import Study

SHADES = {"draft": 0.0, "verify": 0.45, "control": 1.0, "text": 0.75}
PHASES = {phase: to_hex(colormaps[HEAT](shade)) for phase, shade in SHADES.items()}
LABELS = {"control": "controller"}


def _draw(studies: Sequence[Study]) -> Canvas | None:
    study = studies[0]
    found = {m: parts for m in study.methods if (parts := split(pooled(study.of(m))))}
    if not any(parts.round for parts in found.values()):
        return None
    figure = canvas(0.9 + 0.26 * len(found))
    axes = figure.subplots()
    places, left = np.arange(len(found)), np.zeros(len(found))
    for phase, colour in PHASES.items():
        widths = np.array([getattr(parts, phase) for parts in found.values()])
        name = LABELS.get(phase, phase)
        axes.barh(places, widths, left=left, height=0.7, color=colour, label=name)
        left += widths
    for place, (method, parts) in enumerate(found.items()):
        share = "" if method == VANILLA else f"controller {100 * parts.control_share:.1f} %"
        note(axes, share, (parts.round, place), ("data", "data"), (4, 0), va="center")
    axes.set_yticks(places, [short(method) for method in found])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(right=1.22 * max(left))
    axes.set_xlabel("time of a round (ms)")
    grid_lines(axes, "x")
    figure.legend(loc="outside upper left", ncols=4)
    return figure


FIGURES = (
    Figure(
        name="round-time",
        title="Time of a round",
        section="Time and memory",
        caption="Mean over all rounds of a method; rounds differ in how many tokens they produce.",
        needs="records with the times of rounds",
        draw=_draw,
    ),
)
