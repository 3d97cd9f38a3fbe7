"""Every fixed pair of exit layer and speculation length, in each quarter of the text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from dynexit.bench.report.figures.base import Figure
from dynexit.bench.report.figures.style import FAINT, HEAT, broken, canvas
from dynexit.bench.report.naming import pair_label, task_label
from dynexit.bench.report.rounds import (
    SEGMENTS,
    bounds,
    etpl,
    segments,
    tokens_per_second,
)
from dynexit.bench.report.study import Study
from dynexit.decoding.records import Statistics

TICKS = 6  # on an axis, at most


@dataclass(frozen=True)
class Heat:
    """What the colour stands for."""

    label: str
    digits: int

    def of(self, statistics: Statistics) -> float | None:
        """Of one segment's rounds."""
        return tokens_per_second(statistics) if self == SPEED else etpl(statistics)


SPEED = Heat("tokens/s", 1)
ETPL = Heat("eTPL", 3)


def _draw(studies: Sequence[Study], heat: Heat) -> Canvas | None:
    study = studies[0]
    if not study.grid:
        return None
    rows: list[str | None] = [*([None] if len(study.tasks) > 1 else []), *study.tasks]
    longest = _longest(study)
    figure = canvas(0.5 + 1.45 * len(rows))
    panels = figure.subplots(len(rows), SEGMENTS, squeeze=False, sharex=True, sharey=True)
    for task, row in zip(rows, panels, strict=True):
        _row(figure, row, study, task, heat)
    for axes, (first, last) in zip(panels[0], bounds(longest), strict=True):
        axes.set_title(f"tokens {first} to {last}\n{axes.get_title()}")
    for axes in panels[-1]:
        axes.set_xlabel("speculation length")
    return figure


def _row(figure: Canvas, row: Sequence[Axes], study: Study, task: str | None, heat: Heat) -> None:
    """One task's panels, on one scale of colours."""
    values = heat_values(study, task, heat)
    finite = values[np.isfinite(values)]
    if not len(finite):
        return
    scale = Normalize(finite.min(), finite.max())
    for axes, quarter in zip(row, values, strict=True):
        mesh = _panel(axes, study, quarter, scale, heat)
    name = "all tasks" if task is None else task_label(task)
    row[0].set_ylabel(f"{broken(name, 16)}\n\nexit layer")
    bar = figure.colorbar(mesh, ax=list(row), pad=0.01, aspect=14)
    bar.set_label(heat.label)
    bar.outline.set_visible(False)


def _panel(
    axes: Axes, study: Study, values: NDArray[np.float64], scale: Normalize, heat: Heat
) -> QuadMesh:
    layers, lengths = axes_of(study)
    axes.set_facecolor(FAINT)
    mesh = axes.pcolormesh(np.ma.masked_invalid(values), norm=scale, cmap=HEAT, edgecolors="face")
    for side in axes.spines.values():
        side.set_visible(False)
    _ticks(axes, layers, lengths)
    if np.isfinite(values).any():
        y, x = np.unravel_index(np.nanargmax(values), values.shape)
        inside = (float(x) + 0.06, float(y) + 0.06)
        axes.add_patch(Rectangle(inside, 0.88, 0.88, fill=False, edgecolor="black", linewidth=1.6))
        best = f"{values[y, x]:.{heat.digits}f}"
        axes.set_title(f"{best} {pair_label((layers[y], lengths[x]))}", fontsize=8)
    return mesh


def heat_values(study: Study, task: str | None, heat: Heat) -> NDArray[np.float64]:
    """[segments, exit layers, lengths]; NaN where no round lies in a segment."""
    layers, lengths = axes_of(study)
    values = np.full((SEGMENTS, len(layers), len(lengths)), np.nan)
    longest = _longest(study)
    for (layer, length), method in study.grid.items():
        for i, quarter in enumerate(segments(study.of(method, task), longest)):
            found = heat.of(quarter)
            if found is not None:
                values[i, layers.index(layer), lengths.index(length)] = found
    return values


def axes_of(study: Study) -> tuple[list[int], list[int]]:
    """Exit layers and speculation lengths of the grid, rising."""
    return sorted({e for e, _ in study.grid}), sorted({d for _, d in study.grid})


def _longest(study: Study) -> int:
    samples = (s for method in study.grid.values() for s in study.of(method))
    return max((len(s.record.token_ids) for s in samples), default=1) or 1


def _ticks(axes: Axes, layers: Sequence[int], lengths: Sequence[int]) -> None:
    for set_ticks, names in ((axes.set_yticks, layers), (axes.set_xticks, lengths)):
        step = -(-len(names) // TICKS)
        shown = range(0, len(names), step)
        set_ticks([i + 0.5 for i in shown], [str(names[i]) for i in shown])
    axes.tick_params(length=0)


FIGURES = tuple(
    Figure(
        name=name,
        title=f"Exit layer and speculation length, {heat.label}",
        section="Fixed pairs and the oracle",
        caption=(
            f"Colour: {heat.label} of the rounds that begin in that quarter of the new tokens; "
            "frame and title: the best pair (exit layer-speculation length) and its value. Each "
            "row has its own scale."
        ),
        needs="records of `dynexit sweep`",
        draw=partial(_draw, heat=heat),
    )
    for name, heat in (("heatmap-speed", SPEED), ("heatmap-etpl", ETPL))
)
