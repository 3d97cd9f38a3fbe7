"""The style of all figures: 700 px wide, colours safe for colour-blind readers, no decoration."""

import hashlib
from collections.abc import Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv, to_hex, to_rgb
from matplotlib.figure import Figure as Canvas

from dynexit.bench.report.study import Study
from dynexit.bench.report.wording import VANILLA

WIDTH = 7.0  # inches, at 100 px an inch
DPI = 200  # of the PNG: for screens with two pixels to one
GREY = "#767676"
FAINT = "#e4e4e4"
BLACK = "#1a1a1a"
# Okabe and Ito's, without the yellow, which vanishes on white.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
OWN = {  # a method's own colour, in every figure of every report
    "layerskip": "#0072B2",
    "finite-state": "#009E73",
    "draft-verify": "#E69F00",
    "del": "#D55E00",
    "del-e": "#8C3A00",
    "del-e-lim": "#A6761D",
    "del-d": "#F0A27A",
    "auto": "#CC79A7",
    "lookup": "#B8860B",
    "table": "#117A8B",
    "skip": "#A83B6B",
    "swift": "#4C9F38",
    "clasp": "#3A5FCD",
    "window": "#2F6F73",
    "two-model": "#56B4E9",
    "diffuspec": "#B5477A",
    "lookahead": "#6A3D9A",
    "jacobi": "#B15928",
    "early-exit": "#7B5EA7",
    "peer:transformers": "#8A8D00",
    "peer:llama.cpp": "#4D4D4D",
}
SHADES = 0.45  # how far settings may move a colour towards black or white
TURN = 0.04  # and along the circle of hues
HEAT = "cividis"  # of areas
SEQUENCE = "viridis"  # of curves: its middle is no grey
PALEST = 0.85  # of its colours, that is seen on white

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "text.parse_math": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": BLACK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "path",  # the same letters everywhere
    "svg.hashsalt": "dynexit",  # the same file from the same records
}


def canvas(height: float) -> Canvas:
    """An empty figure of the page's width; `height` in inches."""
    return Canvas(figsize=(WIDTH, height))


def colour_of(method: str) -> str:
    """A method's colour, equal in all figures and reports: the name sets the hue, settings a shade.

    The hue of a user's own method comes from a hash of its name.
    """
    if method == VANILLA:
        return GREY
    name = max((own for own in OWN if _names(own, method)), key=len, default="")
    base = OWN.get(name) or _hashed_colour(name := method.split(":")[0])
    return base if method == name else _shade(base, method)


def markers(study: Study) -> dict[str, str]:
    """A marker for each method, so that readers need not rely on colour."""
    return {method: MARKERS[i % len(MARKERS)] for i, method in enumerate(study.others)}


def task_colours(study: Study, method: str) -> dict[str, str]:
    """A colour for each task, not from the methods' scale; a single task has the method's."""
    if len(study.tasks) == 1:
        return {task: colour_of(method) for task in study.tasks}
    return dict(zip(study.tasks, scale_colours(len(study.tasks)), strict=True))


def scale_colours(count: int) -> list[str]:
    """`count` colours along the scale for curves."""
    scale = colormaps[SEQUENCE]
    return [to_hex(scale(PALEST * i / max(1, count - 1))) for i in range(count)]


def _names(own: str, method: str) -> bool:
    return method == own or method.startswith(f"{own}:")


def _share(name: str) -> float:
    """A number from 0 to 1 that depends on the name only."""
    return int.from_bytes(hashlib.sha256(name.encode(errors="replace")).digest()[:4]) / 2**32


def _hashed_colour(name: str) -> str:
    return to_hex(hsv_to_rgb((_share(name), 0.7, 0.7)))


def _shade(colour: str, name: str) -> str:
    """A slightly different hue, darker or lighter."""
    hue, saturation, value = rgb_to_hsv(to_rgb(colour))
    turned = hsv_to_rgb(((hue + TURN * (2 * _share(f"hue {name}") - 1)) % 1, saturation, value))
    far = SHADES * (2 * _share(name) - 1)
    towards = 1.0 if far > 0 else 0.0
    return to_hex([part + abs(far) * (towards - part) for part in turned])


def broken(name: str, width: int) -> str:
    """A long name on lines of about `width`, broken after underscores, colons, commas, hyphens."""
    lines = [""]
    for mark in ("_", ":", ",", "-"):
        name = name.replace(mark, mark + "\0")
    for part in name.split("\0"):
        if lines[-1] and len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def grid_lines(axes: Axes, axis: str) -> None:
    """Faint lines behind the data, along the axis that is read."""
    axes.grid(visible=True, axis="x" if axis == "x" else "y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], gap: float = 0.075) -> None:
    """Names at the right of curves, pushed apart where they would touch.

    Args:
        ends: y of a curve's end in data units, its name and its colour.
        gap: least distance of two names, as a share of the axes' height.
    """
    low, high = axes.get_ylim()
    placed = sorted(((y - low) / (high - low), name, colour) for y, name, colour in ends)
    heights = spread([y for y, _, _ in placed], gap)
    for height, (_, name, colour) in zip(heights, placed, strict=True):
        note(axes, name, (1.0, height), offset=(5, 0), color=colour, va="center")


def note(
    axes: Axes,
    text: str,
    at: tuple[float, float],
    scales: tuple[str, str] = ("axes fraction", "axes fraction"),
    offset: tuple[float, float] = (0, 0),
    **style: Any,
) -> None:
    """Small text beside a place; `offset` in points, `scales` of x and y by matplotlib's names."""
    places = {"xycoords": scales, "textcoords": "offset points", "annotation_clip": False}
    axes.annotate(text, at, xytext=offset, **{"fontsize": 8.5, "color": BLACK, **places, **style})


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Rising heights at least `gap` apart, moved as little as a pass up and one down can."""
    up = list(heights)
    for i in range(1, len(up)):
        up[i] = max(up[i], up[i - 1] + gap)
    excess = max(0.0, up[-1] - 1.0) if up else 0.0
    down = [y - excess / 2 for y in up]
    for i in range(len(down) - 2, -1, -1):
        down[i] = min(down[i], down[i + 1] - gap)
    return down
