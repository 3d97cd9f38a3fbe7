"""All methods of a model side by side: what a round brings, and what that takes."""

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from dynexit.bench.report.figures import Figure
from dynexit.bench.report.figures.methods import stack
from dynexit.bench.report.figures.style import GREY, canvas, colour_of, grid_lines
from dynexit.bench.report.source_lines import source_lines
from dynexit.bench.report.study import Study
from dynexit.bench.report.wording import short


@partial(
    Figure,
    name="field",
    title="All methods side by side",
    section="Methods side by side",
    caption=(
        "The fastest first. Rows: those that verification computes in a round. Memory: the most "
        "that the process held, weights included. Lines: our code that only this method needs."
    ),
    needs="records of any method beside vanilla, with the times of rounds",
)
def field(study: Study) -> Canvas | None:
    """One line for each method, one panel for each quantity."""
    methods, rounds = study.ranked, {method: study.rounds(method) for method in study.methods}
    phases = [found for method in methods if (found := rounds[method].phases)]
    if not study.others or len(phases) < len(methods):
        return None
    figure = canvas(1.2 + 0.19 * len(methods))
    panels = figure.subplots(1, 6, sharey=True, width_ratios=(1.2, 1.2, 1, 1.6, 1, 1))
    _bars(panels[0], methods, [study.total(m).speedup or 0.0 for m in methods], "speedup (x)")
    panels[0].axvline(1, color=GREY, linewidth=1)
    tokens = [rounds[m].mean_acceptance_length or 0.0 for m in methods]
    _bars(panels[1], methods, tokens, "tokens\nper round")
    _bars(panels[2], methods, [rounds[m].mean_rows or 0.0 for m in methods], "rows\nper round")
    stack(panels[3], [found.shares for found in phases])
    panels[3].set_xlabel("share of\na round's time")
    panels[3].set_xlim(0, 1)
    _bars(panels[4], methods, [study.peak_memory(m) / 1e6 for m in methods], "memory\n(MB)")
    _bars(panels[5], methods, [source_lines(m) or 0 for m in methods], "lines\nof code")
    panels[0].set_yticks(range(len(methods)), [short(method) for method in methods])
    panels[0].invert_yaxis()
    figure.legend(*panels[3].get_legend_handles_labels(), loc="outside upper right", ncols=4)
    return figure


def _bars(axes: Axes, methods: Sequence[str], values: Sequence[float], label: str) -> None:
    axes.barh(range(len(methods)), values, height=0.7, color=[*map(colour_of, methods)])
    axes.set_xlabel(label)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=2)
    grid_lines(axes, "x")
