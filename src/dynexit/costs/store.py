"""Measured costs, kept while a model is, and between runs: one small file per model, machine, dtype
and threads.
"""

import hashlib
import json
import os
from pathlib import Path
from weakref import WeakKeyDictionary

from dynexit.costs.measuring import measure_costs
from dynexit.costs.table import Costs
from dynexit.environment import environment
from dynexit.model.interface import Model

VERSION = 5  # of what is measured, and how

_known: WeakKeyDictionary[Model, tuple[bool, Costs]] = WeakKeyDictionary()


def costs_of(model: Model) -> Costs:
    """Costs of this model here: read, or measured and kept where there is room for a file."""
    costs = kept_costs(model)
    if costs is None:
        costs = measure_costs(model)
        _known[model] = _copied(model), costs
        _keep(costs, _file(model))
    return costs


def kept_costs(model: Model) -> Costs | None:
    """Costs of this model here, where they have been measured.

    A model that has got a copy of its first layers since has other costs.
    """
    if model not in _known or _known[model][0] != _copied(model):
        try:
            costs = Costs.from_dict(json.loads(_file(model).read_text()))
        except (OSError, ValueError, TypeError):  # not there, or not whole
            return None
        _known[model] = _copied(model), costs
    return _known[model][1]


def _copied(model: Model) -> bool:
    return getattr(model, "draft_copy", None) is not None


def _file(model: Model) -> Path:
    told = {
        **environment(model),
        "config": repr(model.config),
        "choosable": model.choosable,
        "copy": _copied(model),
        "table": VERSION,
    }
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:24]
    return _folder() / f"{key}.json"


def _folder() -> Path:
    """`DYNEXIT_CACHE`, or a folder in the user's cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("DYNEXIT_CACHE") or base / "dynexit") / "costs"


def _keep(costs: Costs, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        whole = file.with_suffix(f".{os.getpid()}")
        whole.write_text(json.dumps(costs.as_dict()))
        whole.replace(file)
    except OSError:  # a read-only home: measure again the next time
        return
