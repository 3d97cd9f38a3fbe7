"""Fixed pairs of exit layer and speculation length: speeds, heat maps, and methods beside them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dynexit.bench.report.figures import Figure
from dynexit.bench.report.figures.style import (
    BLACK,
    FAINT,
    GREY,
    HEAT,
    broken,
    canvas,
    colour_of,
    grid_lines,
    label_ends,
    markers,
    note,
    scale_colours,
)
from dynexit.bench.report.rounds import SEGMENTS, Rounds, bounds, segments
from dynexit.bench.report.speeds import Strategy, axes_of
from dynexit.bench.report.study import Study
from dynexit.bench.report.wording import VANILLA, pair_label, short, task_label

SECTION = "Fixed pairs and the oracle"
TICKS = 6  # on an axis of a heat map, at most
HINDSIGHT = (("|", GREY), ("d", GREY), ("|", BLACK))  # best pair, best of each task, oracle
SHOWN = 5  # methods beside these


@partial(
    Figure,
    name="exit-layers",
    title="Speed over the exit layer",
    section=SECTION,
    caption=(
        "Tokens per second of decoding with a fixed exit layer, one curve for each speculation "
        "length d; dashed: vanilla."
    ),
    needs="records of `dynexit sweep` over two or more exit layers",
    beside=True,
)
def exit_layers(studies: Sequence[Study]) -> Canvas | None:
    """The article's curve: speed over the exit layer, models beside one another."""
    shown = [study for study in studies if len(axes_of(study.grid)[0]) > 1]
    if not shown:
        return None
    figure = canvas(3.2)
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    ends = [_speeds(axes, study) for axes, study in zip(panels, shown, strict=True)]
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("tokens/s")
    for axes, own in zip(panels, ends, strict=True):  # now that the height of the axes is settled
        label_ends(axes, own, gap=0.06)
    return figure


def _speeds(axes: Axes, study: Study) -> list[tuple[float, str, str]]:
    """Curves of one model; returns their ends, names and colours."""
    curves: dict[int, dict[int, float]] = {length: {} for length in axes_of(study.grid)[1]}
    for (layer, length), method in study.grid.items():
        if (speed := study.total(method).tokens_per_second) is not None:
            curves[length][layer] = speed
    found = {length: curve for length, curve in curves.items() if curve}
    ends = []
    for (length, curve), colour in zip(found.items(), scale_colours(len(found)), strict=True):
        axes.plot(list(curve), list(curve.values()), color=colour, marker="o", markersize=3.5)
        ends.append((list(curve.values())[-1], f"d = {length}", colour))
    if (plain := study.total(VANILLA).tokens_per_second) is not None:
        axes.axhline(plain, color=GREY, linewidth=1.2, linestyle=(0, (4, 2)))
        ends.append((plain, "vanilla", GREY))
    axes.set_xlabel("exit layer")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    grid_lines(axes, "y")
    axes.set_title(study.model)
    return ends


class Heat(NamedTuple):
    """The quantity that a heat map shows as colour."""

    label: str
    digits: int
    of: Callable[[Rounds], float | None]


SPEED = Heat("tokens/s", 1, lambda rounds: rounds.tokens_per_second)
ETPL = Heat("eTPL", 3, lambda rounds: rounds.etpl)


def _heat_map(study: Study, heat: Heat) -> Canvas | None:
    """Every fixed pair, in each quarter of the text."""
    if not study.grid:
        return None
    tasks = [task for task in study.tasks if compared(study, task)]
    rows: list[str | None] = [*([None] if len(tasks) != 1 else []), *tasks]
    figure = canvas(0.7 + 1.35 * len(rows))
    panels = figure.subplots(len(rows), SEGMENTS, squeeze=False, sharex=True, sharey=True)
    for task, row in zip(rows, panels, strict=True):
        _row(figure, row, study, task, heat)
    for axes, (first, last) in zip(panels[0], bounds(_longest(study)), strict=True):
        note(axes, f"tokens {first} to {last}", (0, 1), offset=(0, 16), fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("speculation length")
    _ticks(panels[0, 0], *axes_of(study.grid))
    return figure


def compared(study: Study, task: str) -> bool:
    """Whether more than one fixed pair ran on this model."""
    return sum(bool(study.of(method, task)) for method in study.grid.values()) > 1


def _row(figure: Canvas, row: Sequence[Axes], study: Study, task: str | None, heat: Heat) -> None:
    """The panels of one task, which share a colour scale."""
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
    layers, lengths = axes_of(study.grid)
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
    layers, lengths = axes_of(study.grid)
    values = np.full((SEGMENTS, len(layers), len(lengths)), np.nan)
    longest = _longest(study)
    for (layer, length), method in study.grid.items():
        texts = study.rounds_of_texts(method, task)
        for i, quarter in enumerate(segments(texts, longest) if texts else ()):
            found = heat.of(quarter)
            if found is not None:
                values[i, layers.index(layer), lengths.index(length)] = found
    return values


def _longest(study: Study) -> int:
    samples = (s for method in study.grid.values() for s in study.of(method))
    return max((s.own.new_tokens for s in samples), default=0) or 1


def _ticks(axes: Axes, layers: Sequence[int], lengths: Sequence[int]) -> None:
    """Set the ticks of all panels at once, since they share axes."""
    for set_ticks, names in ((axes.set_yticks, layers), (axes.set_xticks, lengths)):
        step = -(-len(names) // TICKS)
        shown = range(0, len(names), step)
        set_ticks([i + 0.5 for i in shown], [str(names[i]) for i in shown])


heatmap_speed, heatmap_etpl = (
    Figure(
        partial(_heat_map, heat=heat),
        name=name,
        title=f"Exit layer and speculation length, {heat.label}",
        section=SECTION,
        caption=(
            f"Colour: {heat.label} of the rounds that begin in that quarter of the new tokens; "
            "frame and title: the best pair (exit layer-speculation length) and its value. Each "
            "row has its own scale."
        ),
        needs="records of `dynexit sweep`",
    )
    for name, heat in (("heatmap-speed", SPEED), ("heatmap-etpl", ETPL))
)


@partial(
    Figure,
    name="oracle",
    title="Methods against fixed pairs",
    section=SECTION,
    caption=(
        "Speedup over vanilla of methods, of the best fixed pair overall, of each task's best, "
        "and of the oracle, which takes the best pair of every prompt after the fact. At most "
        "five methods are drawn."
    ),
    needs="records of `dynexit sweep`, and of any other method on the same prompts",
)
def oracle(study: Study) -> Canvas | None:
    """Methods beside the best fixed pair, chosen with hindsight."""
    grid = study.fixed_pairs
    every = [grid.method(method, study.timings(method)) for method in study.others if grid]
    made = [strategy for strategy in every if strategy is not None][:SHOWN]
    if not made:
        return None
    strategies = [grid.best_overall, grid.best_per_task, grid.oracle, *made]
    marks = [*HINDSIGHT, *((markers(study)[m.name], colour_of(m.name)) for m in made)]
    groups: list[str | None] = [*grid.tasks, *([None] if len(grid.tasks) > 1 else [])]
    figure = canvas(1.1 + 0.3 * len(groups))
    axes = figure.subplots()
    for place, task in enumerate(groups):
        found = [s for one in strategies if (s := one.speedup(task)) is not None]
        axes.plot([min(found), max(found)], [place] * 2, color=FAINT, linewidth=4, zorder=1)
    for strategy, (marker, colour) in zip(strategies, marks, strict=True):
        _marks(axes, strategy, groups, marker, colour)
    axes.axvline(1, color=GREY, linewidth=1)
    note(axes, VANILLA, (1, 1), ("data", "axes fraction"), (0, 2), color=GREY, ha="center")
    axes.set_yticks(range(len(groups)), ["all" if t is None else task_label(t) for t in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("speedup over vanilla (x)")
    grid_lines(axes, "x")
    figure.legend(loc="outside upper left", ncols=4, handletextpad=0.2, columnspacing=1.4)
    return figure


def _marks(
    axes: Axes, strategy: Strategy, groups: Sequence[str | None], marker: str, colour: str
) -> None:
    found = [(s, i) for i, task in enumerate(groups) if (s := strategy.speedup(task)) is not None]
    size, edge = (13, 2) if marker == "|" else (6.5, 0)
    axes.plot(
        *zip(*found, strict=True),
        marker=marker,
        linestyle="",
        color=colour,
        label=short(strategy.name),
        markersize=size,
        markeredgewidth=edge,
    )
