"""Speed of methods, their choices and accepted tokens, and the time of a round by phase."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from dynexit.bench.report.figures import Figure
from dynexit.bench.report.figures.style import (
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
    task_colours,
)
from dynexit.bench.report.rounds import Phases, Rounds, Value, over_rounds
from dynexit.bench.report.study import Study
from dynexit.bench.report.wording import VANILLA, short, task_label

DOTS = 7  # methods in the figure of speedups
LINE = 75  # letters under its axis, side by side
SPREAD = 0.7  # of a task's width that its methods share
BARS = 6  # methods with bars of accepted tokens
COLUMNS = 3  # of these
CURVES = 3  # methods with curves over rounds
LONG_NAME = 30
SHADES = {"draft": 0.0, "verify": 0.45, "control": 1.0, "text": 0.75}
PHASES = {phase: to_hex(colormaps[HEAT](shade)) for phase, shade in SHADES.items()}
LABELS = {"control": "controller"}


@partial(
    Figure,
    name="speedup",
    title="Speedup by task",
    section="Speed",
    caption=(
        "Speedup over vanilla, with 95 % bootstrap intervals over prompts. Of more than seven "
        "methods the fastest are drawn."
    ),
    needs="records of any method beside vanilla",
)
def speedup(study: Study) -> Canvas | None:
    """Speedup of every method, task by task and overall."""
    methods = study.fastest(study.others, DOTS)
    if not methods:
        return None
    figure = canvas(3.4)
    axes = figure.subplots()
    groups: list[str | None] = [*study.tasks, *([None] if len(study.tasks) > 1 else [])]
    for place, method in enumerate(methods):
        shift = SPREAD * ((place + 0.5) / len(methods) - 0.5)
        _dots(axes, study, method, groups, shift)
    _furnish(axes, groups)
    figure.legend(loc="outside upper left", ncols=4, handletextpad=0.1, columnspacing=1.2)
    return figure


def _dots(
    axes: Axes, study: Study, method: str, groups: Sequence[str | None], shift: float
) -> None:
    found = [(i, s) for i, task in enumerate(groups) if (s := study.total(method, task).speedup)]
    colour = colour_of(method)
    for i, speed in found:
        low, high = study.interval(method, groups[i]) or (speed, speed)
        axes.plot([i + shift] * 2, [low, high], color=colour, linewidth=1.4)
    places, speeds = [i + shift for i, _ in found], [s for _, s in found]
    axes.plot(places, speeds, markers(study)[method], color=colour, label=short(method))


def _furnish(axes: Axes, groups: Sequence[str | None]) -> None:
    names = [
        "all" if task is None else broken(task_label(task), LINE // len(groups)) for task in groups
    ]
    axes.set_xticks(range(len(groups)), names)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    for i in range(1, len(groups)):
        axes.axvline(i - 0.5, color=FAINT, linewidth=0.8)
    axes.axhline(1, color=GREY, linewidth=1, zorder=1)
    axes.set_ylim(bottom=min(0.9, axes.get_ylim()[0]))
    low, high = axes.get_ylim()
    if low < 1 < high:
        label_ends(axes, [(1, VANILLA, GREY)])
    axes.set_ylabel("speedup over vanilla (x)")
    grid_lines(axes, "y")


@partial(
    Figure,
    name="accepted",
    title="Accepted tokens of a round",
    section="Exit layers and drafts",
    caption=(
        "Share of all rounds, plain steps among them, that keep so many drafted tokens (each "
        "adds one token of the target's). Of more than six methods the fastest are drawn."
    ),
    needs="records of any method that drafts",
)
def accepted(study: Study) -> Canvas | None:
    """How many drafted tokens a round keeps."""
    drafting = [m for m in study.methods if study.rounds(m).drafted.any()]
    drafting = study.fastest(drafting, BARS)
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
    found = study.rounds(method).accepted
    counts = np.bincount(found)
    axes.bar(np.arange(len(counts)), counts / len(found), width=0.8, color=colour_of(method))
    axes.set_title(short(method)[:LONG_NAME])
    note(axes, f"mean {found.mean():.2f}", (1, 0.95), ha="right", va="top")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


@partial(
    Figure,
    name="adaptation",
    title="Exit layer and acceptance over rounds",
    section="Exit layers and drafts",
    caption=(
        "Means over the texts of a task, while at least half of them go on. Exit layer: of "
        "the rounds that drafted with the model's own layers. Neighbouring "
        "rounds are averaged to at most 24 points. At most three methods are drawn."
    ),
    needs="records of a method that drafts by more than one exit layer",
)
def adaptation(study: Study) -> Canvas | None:
    """What methods choose as a text goes on, and how often their drafts are accepted."""
    exits = {m: np.unique(_early_exits(study.rounds(m)).exit_layer) for m in study.methods}
    methods = [method for method in study.methods if len(exits[method]) > 1][:CURVES]
    if not methods:
        return None
    figure = canvas(4.2)
    panels = figure.subplots(2, len(methods), squeeze=False, sharex="col", sharey="row")
    for (above, below), method in zip(panels.T, methods, strict=True):
        last = method == methods[-1]  # below first: it has all rounds, and both share their x
        _curves(below, study, method, lambda r: r.acceptance_rate, (0, 1), named=last)
        _curves(above, study, method, _mean_exit, (0, None) if last else None, named=last)
        above.set_title(short(method)[:LONG_NAME])
        below.set_xlabel("round")
    panels[0, 0].set_ylabel("exit layer")
    panels[1, 0].set_ylabel("accepted / drafted")
    return figure


def _mean_exit(rounds: Rounds) -> float | None:
    return _early_exits(rounds).mean_exit_layer


def _early_exits(rounds: Rounds) -> Rounds:
    """The methods that drafted with the target's own layers: lookup has no exit."""
    return rounds.pick((rounds.drafted > 0) & (rounds.exit_layer > 0))


@partial(
    Figure,
    name="threshold",
    title="Confidence threshold over rounds",
    section="Exit layers and drafts",
    caption=(
        "Drafting stops after the first token whose probability is below it. Mean over the "
        "texts of a task, of the rounds that had a threshold. At most three methods are drawn."
    ),
    needs="texts long enough for a method to set a threshold in them",
)
def threshold(study: Study) -> Canvas | None:
    """The confidence below which drafting stops, as a text goes on."""
    found = (m for m in study.methods if study.rounds(m).mean_threshold is not None)
    methods = list(found)[:CURVES]
    if not methods:
        return None
    figure = canvas(2.8)
    panels = figure.subplots(1, len(methods), squeeze=False, sharey=True)[0]
    for axes, method in zip(panels, methods, strict=True):
        last = axes is panels[-1]
        _curves(axes, study, method, lambda r: r.mean_threshold, named=last)
        axes.set_title(short(method))
        axes.set_xlabel("round")
    panels[0].set_ylabel("confidence threshold")
    return figure


def _curves(
    axes: Axes,
    study: Study,
    method: str,
    value: Value,
    limits: tuple[float, float | None] | None = None,
    named: bool = True,
) -> None:
    """Mean of `value` over the texts of each task, round by round.

    Args:
        limits: of the y axis.
        named: whether the tasks' names stand at the curves' ends.
    """
    ends = []
    for task, colour in task_colours(study, method).items():
        rounds, values = over_rounds(study.rounds_of_texts(method, task), value)
        if rounds:
            marker = "o" if len(rounds) == 1 else ""
            axes.plot(rounds, values, color=colour, marker=marker, clip_on=False)
            ends.append((values[-1], task_label(task), colour))
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if limits is not None:
        axes.set_ylim(*limits)
    grid_lines(axes, "y")
    if named:
        label_ends(axes, ends)


@partial(
    Figure,
    name="round-time",
    title="Time of a round",
    section="Time and memory",
    caption="Mean over all rounds of a method; rounds differ in how many tokens they produce.",
    needs="records with the times of rounds",
)
def round_time(study: Study) -> Canvas | None:
    """The time of a round, by phase."""
    found = {m: phases for m in study.methods if (phases := study.rounds(m).phases)}
    if not any(phases.round for phases in found.values()):
        return None
    figure = canvas(0.9 + 0.26 * len(found))
    axes = figure.subplots()
    ends = stack(axes, list(found.values()))
    for place, (method, phases) in enumerate(found.items()):
        share = "" if method == VANILLA else f"controller {100 * phases.shares.control:.1f} %"
        note(axes, share, (phases.round, place), ("data", "data"), (4, 0), va="center")
    axes.set_yticks(range(len(found)), [short(method) for method in found])
    axes.invert_yaxis()
    axes.set_xlim(right=1.22 * max(ends))
    axes.set_xlabel("time of a round (ms)")
    grid_lines(axes, "x")
    figure.legend(loc="outside upper left", ncols=4)
    return figure


def stack(axes: Axes, found: Sequence[Phases]) -> NDArray[np.float64]:
    """Bars of phases, one after the other; returns where they end."""
    places, ends = np.arange(len(found)), np.zeros(len(found))
    for phase, colour in PHASES.items():
        widths = np.array([getattr(phases, phase) for phases in found])
        name = LABELS.get(phase, phase)
        axes.barh(places, widths, left=ends, height=0.7, color=colour, label=name)
        ends += widths
    axes.tick_params(axis="y", length=0)
    return ends
