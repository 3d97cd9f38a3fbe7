"""The article's curve: speed over the exit layer, models beside one another."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from dynexit.bench.report.figures.base import Figure
from dynexit.bench.report.figures.style import GREY, canvas, grid_lines, label_ends, scale_colours
from dynexit.bench.report.naming import VANILLA
from dynexit.bench.report.study import Study


def _draw(studies: Sequence[Study]) -> Canvas | None:
    shown = [study for study in studies if len({layer for layer, _ in study.grid}) > 1]
    if not shown:
        return None
    figure = canvas(3.2)
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for axes, study in zip(panels, shown, strict=True):
        _plot(axes, study)
        axes.set_title(study.model)
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("tokens/s")
    for axes, study in zip(panels, shown, strict=True):
        _name(axes, study)
    return figure


def _plot(axes: Axes, study: Study) -> None:
    for length, colour in _colours(study).items():
        curve = speed_over_exits(study, length)
        axes.plot(list(curve), list(curve.values()), color=colour, marker="o", markersize=3.5)
    if (plain := study.total(VANILLA).tokens_per_second) is not None:
        axes.axhline(plain, color=GREY, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.set_xlabel("exit layer")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    grid_lines(axes, "y")


def _name(axes: Axes, study: Study) -> None:
    """Names at the curves' ends, once the height of the axes is settled."""
    ends = [
        (list(speed_over_exits(study, length).values())[-1], f"d = {length}", colour)
        for length, colour in _colours(study).items()
    ]
    if (plain := study.total(VANILLA).tokens_per_second) is not None:
        ends.append((plain, "vanilla", GREY))
    label_ends(axes, ends, gap=0.06)


def speed_over_exits(study: Study, length: int) -> dict[int, float]:
    """Tokens per second by exit layer, at one speculation length."""
    return {
        layer: speed
        for (layer, d), method in study.grid.items()
        if d == length and (speed := study.total(method).tokens_per_second) is not None
    }


def _colours(study: Study) -> dict[int, str]:
    lengths = [d for d in sorted({d for _, d in study.grid}) if speed_over_exits(study, d)]
    return dict(zip(lengths, scale_colours(len(lengths)), strict=True))


FIGURES = (
    Figure(
        name="exit-layers",
        title="Speed over the exit layer",
        section="Fixed pairs and the oracle",
        caption=(
            "Tokens per second of decoding with a fixed exit layer, one curve for each speculation "
            "length d; dashed: vanilla."
        ),
        needs="records of `dynexit sweep` over two or more exit layers",
        draw=_draw,
        beside=True,
    ),
)
