"""Figures: one file each, found by being here. A file names those that it draws in `FIGURES`.

matplotlib is imported in this room and in no other.
"""

import importlib
import pkgutil

from dynexit.bench.report.figures.base import Figure


def figures() -> list[Figure]:
    """Every figure of this package."""
    modules = sorted(m.name for m in pkgutil.iter_modules(__path__))
    found = (importlib.import_module(f"{__name__}.{module}") for module in modules)
    return [figure for module in found for figure in getattr(module, "FIGURES", ())]


__all__ = ["Figure", "figures"]
