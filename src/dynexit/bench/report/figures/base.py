"""What a figure is, and how one is drawn and saved."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from dynexit.bench.report.figures.style import DPI, STYLE
from dynexit.bench.report.study import Study

Draw = Callable[[Sequence[Study]], Canvas | None]


@dataclass(frozen=True)
class Figure:
    """A figure over one model, or over several beside one another.

    Attributes:
        name: of its files.
        section: title of the section that it stands under.
        needs: the records that make it, for a reader whose records do not.
        draw: None where the studies hold nothing to draw.
        beside: whether one figure holds all models; otherwise each has its own.
    """

    name: str
    title: str
    section: str
    caption: str
    needs: str
    draw: Draw
    beside: bool = False


@dataclass(frozen=True)
class Drawn:
    """A figure in two files, NAME.svg and NAME.png; `model` where it shows one of several."""

    figure: Figure
    name: str
    model: str | None


def draw_all(figure: Figure, studies: Sequence[Study], folder: Path) -> list[Drawn]:
    """Draw and save a figure; returns what there was data for."""
    if figure.beside or len(studies) == 1:
        return _save(Drawn(figure, figure.name, None), studies, folder)
    named = [
        (study, Drawn(figure, f"{figure.name}-{_slug(study)}", study.model)) for study in studies
    ]
    return [drawn for study, one in named for drawn in _save(one, [study], folder)]


def _save(drawn: Drawn, studies: Sequence[Study], folder: Path) -> list[Drawn]:
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        canvas = drawn.figure.draw(studies)
        if canvas is None:
            return []
        canvas.savefig(folder / f"{drawn.name}.svg", metadata={"Date": None, "Creator": None})
        canvas.savefig(folder / f"{drawn.name}.png", dpi=DPI, metadata={"Software": None})
    return [drawn]


def _slug(study: Study) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", study.model).strip("-.")
