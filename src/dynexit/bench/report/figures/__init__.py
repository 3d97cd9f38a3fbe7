"""Figures of a report. Every file of this folder is searched for figures: see `figures`.

Only this package imports matplotlib.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from dynexit.bench.report.figures.style import DPI, STYLE
from dynexit.bench.report.study import Evidence


@dataclass(frozen=True)
class Figure:
    """A figure over one model, or over several beside one another.

    Attributes:
        draw: from its subject, or `beside` from all of them; None where there is nothing to draw.
        name: of its files.
        section: title of the section that it stands under.
        needs: the records that make it, for a reader whose records do not.
        beside: whether one figure holds all models; otherwise each has its own.
        subjects: what of the evidence it is drawn of.
    """

    draw: Callable[[Any], Canvas | None]
    name: str
    title: str
    section: str
    caption: str
    needs: str
    beside: bool = False
    subjects: Literal["studies", "rooflines"] = "studies"


@dataclass(frozen=True)
class Drawn:
    """A figure in two files, NAME.svg and NAME.png; `model` where it shows one of several."""

    figure: Figure
    name: str
    model: str | None


def figures() -> list[Figure]:
    """Every `Figure` of this package's files, in the order of their names and lines."""
    modules = sorted(m.name for m in pkgutil.iter_modules(__path__))
    found = (vars(importlib.import_module(f"{__name__}.{module}")) for module in modules)
    return [one for names in found for one in names.values() if isinstance(one, Figure)]


def draw_all(figure: Figure, evidence: Evidence, folder: Path) -> list[Drawn]:
    """Draw and save a figure for each subject that has data; returns those drawn."""
    found = getattr(evidence, figure.subjects)
    if figure.beside:
        return _save(Drawn(figure, figure.name, None), found, folder) if found else []
    drawn = []
    for subject in found:
        several = len(found) > 1
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", subject.model).strip("-.")
        name = f"{figure.name}-{slug}" if several else figure.name
        own = Drawn(figure, name, subject.model if several else None)
        drawn += _save(own, subject, folder)
    return drawn


def _save(drawn: Drawn, subject: Any, folder: Path) -> list[Drawn]:
    with styled():
        canvas = drawn.figure.draw(subject)
        if canvas is None:
            return []
        canvas.savefig(folder / f"{drawn.name}.svg", metadata={"Date": None, "Creator": None})
        canvas.savefig(folder / f"{drawn.name}.png", dpi=DPI, metadata={"Software": None})
    return [drawn]


@contextmanager
def styled() -> Iterator[None]:
    """Use the report's style instead of the user's matplotlib settings."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield
