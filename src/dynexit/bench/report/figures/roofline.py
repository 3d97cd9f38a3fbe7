"""The roofline's figure: ms of a pass over the rows computed at once, measured and at least."""

from pathlib import Path

from matplotlib import rc_context

from dynexit.bench.report.figures.style import COLOURS, DPI, GREY, MARKERS, STYLE, canvas
from dynexit.bench.roofline import Roofline


def draw_roofline(found: Roofline, file: Path) -> None:
    """Write the figure; the suffix of `file` says in which format."""
    with rc_context(STYLE):
        figure = canvas(3.4)
        axes = figure.subplots()
        contexts = sorted({point.context for point in found.points})
        for index, context in enumerate(contexts):
            points = [p for p in found.points if p.context == context]
            rows = [p.rows for p in points]
            colour = COLOURS[index % len(COLOURS)]
            axes.plot(
                rows,
                [p.total_ms for p in points],
                color=colour,
                marker=MARKERS[index % len(MARKERS)],
                label=f"measured, {context:,} positions",
            )
            floors = [p.floor_ms(found.limits) for p in points]
            axes.plot(rows, floors, color=colour, linestyle="--", linewidth=1.0)
        axes.plot([], [], color=GREY, linestyle="--", linewidth=1.0, label="floor")
        axes.set_xscale("log", base=2)
        ticks = sorted({p.rows for p in found.points})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("rows computed at once")
        axes.set_ylabel("ms a pass")
        axes.set_title(f"{found.model}, {found.machine['dtype']}, {found.machine['runtime']}")
        axes.legend()
        figure.savefig(file, dpi=DPI)
