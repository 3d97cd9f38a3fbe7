"""Every fixed pair of exit layer and speculation length, in each quarter of the text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

from dynexit.bench.report.columns import Rounds
from dynexit.bench.report.figures.base import Figure
from dynexit.bench.report.figures.style import FAINT, HEAT, broken, canvas, note
from dynexit.bench.report.naming import pair_label, task_label
from dynexit.bench.report.rounds import SEGMENTS, bounds, segments
from dynexit.bench.report.study import Study

TICKS = 6  # on an axis, at most


@dataclass(frozen=True)
class Heat:
    """What the colour stands for."""

    label: str
    digits: int
    of: Callable[[Rounds], float | None]


SPEED = Heat("tokens/s", 1, lambda rounds: rounds.tokens_per_second)
ETPL = Heat("eTPL", 3, lambda rounds: rounds.etpl)


def _draw(studies: Sequence[Study], heat: Heat) -> Canvas | None:
    study = studies[0]
    if not study.grid:
        return None
    tasks = [task for task in study.tasks if compared(study, task)]
    rows: list[str | None] = [*([None] if len(tasks) != 1 else []), *tasks]
    longest = _longest(study)
    figure = canvas(0.7 + 1.35 * len(rows))
    panels = figure.subplots(len(rows), SEGMENTS, squeeze=False, sharex=True, sharey=True)
    for task, row in zip(rows, panels, strict=True):
        _row(figure, row, study, task, heat)
    for axes, (first, last) in zip(panels[0], bounds(longest), strict=True):
        note(axes, f"tokens {first} to {last}", (0, 1), offset=(0, 16), fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("speculation length")
    _ticks(panels[0, 0], *axes_of(study))
    return figure


def compared(study: Study, task: str) -> bool:
    """Whether more than one pair ran on it."""
    return sum(bool(study.of(method, task)) for method in study.grid.values()) > 1


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
    axes.tick_params(length=0)
    if np.isfinite(values).any():
        y, x = np.unravel_index(np.nanargmax(values), values.shape)
        inside = (float(x) + 0.06, float(y) + 0.06)
        frame = Rectangle(inside, 0.88, 0.88, fill=False, edgecolor="black", linewidth=1.2)
        frame.set_path_effects([Stroke(linewidth=2.8, foreground="white"), Normal()])
        axes.add_patch(frame)
        best = f"{values[y, x]:.{heat.digits}f}"
        axes.set_title(f"{best} {pair_label((layers[y], lengths[x]))}", fontsize=8, pad=2)
    return mesh


def heat_values(study: Study, task: str | None, heat: Heat) -> NDArray[np.float64]:
    """[segments, exit layers, lengths]; NaN where no round lies in a segment."""
    layers, lengths = axes_of(study)
    values = np.full((SEGMENTS, len(layers), len(lengths)), np.nan)
    longest = _longest(study)
    for (layer, length), method in study.grid.items():
        samples = study.of(method, task)
        for i, quarter in enumerate(segments(samples, longest) if samples else ()):
            found = heat.of(quarter)
            if found is not None:
                values[i, layers.index(layer), lengths.index(length)] = found
    return values


def axes_of(study: Study) -> tuple[list[int], list[int]]:
    """Exit layers and speculation lengths of the grid, rising."""
    return sorted({e for e, _ in study.grid}), sorted({d for _, d in study.grid})


def _longest(study: Study) -> int:
    samples = (s for method in study.grid.values() for s in study.of(method))
    return max((s.own.new_tokens for s in samples), default=0) or 1


def _ticks(axes: Axes, layers: Sequence[int], lengths: Sequence[int]) -> None:
    """Of all panels at once, since they share their axes."""
    for set_ticks, names in ((axes.set_yticks, layers), (axes.set_xticks, lengths)):
        step = -(-len(names) // TICKS)
        shown = range(0, len(names), step)
        set_ticks([i + 0.5 for i in shown], [str(names[i]) for i in shown])


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
