"""Controllers: what each round should be. One file each; numbers in, a `Plan` out, no model.

A file is found by being here. It names the methods that it offers in `METHODS`: for each, a
function of keyword settings that returns a `Controller`.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping

from dynexit.decoding.controllers.base import Controller

Factory = Callable[..., Controller]


def methods() -> Mapping[str, Factory]:
    """Every method of this package by name."""
    found: dict[str, Factory] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        found.update(getattr(importlib.import_module(f"{__name__}.{module}"), "METHODS", {}))
    return found


__all__ = ["Controller", "Factory", "methods"]
