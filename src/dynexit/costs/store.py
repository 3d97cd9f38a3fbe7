"""Caches measured costs, in memory and between runs: one small file per model, machine, dtype and
number of threads.
"""

import hashlib
import json
import os
from pathlib import Path
from weakref import WeakKeyDictionary

from dynexit.costs.measuring import measure_costs
from dynexit.decoding.costs import Costs
from dynexit.environment import environment
from dynexit.model.files import cache_folder
from dynexit.model.interface import Model
from dynexit.plain import parse_json

VERSION = 10  # of what is measured, and how

_known: WeakKeyDictionary[Model, dict[bool, Costs]] = WeakKeyDictionary()


def costs_of(model: Model, copied: bool = False) -> Costs:
    """Costs of this model here: read, or measured and kept where there is room for a file.

    Args:
        copied: with those of its copy for drafts. The others have a table of their own: what one
            method asks for changes no other's plans.
    """
    costs = kept_costs(model, copied)
    if costs is None:
        costs = _known.setdefault(model, {})[copied] = measure_costs(model, copied)
        _keep(costs, _file(model, copied))
    return costs


def kept_costs(model: Model, copied: bool = False) -> Costs | None:
    """Costs of this model here, where they have been measured; `copied` as above."""
    known = _known.setdefault(model, {})
    if copied not in known:
        try:
            text = _file(model, copied).read_text(encoding="utf-8")
            known[copied] = Costs.from_dict(parse_json(text, "it"))
        except (OSError, ValueError):  # not there, or damaged
            return None
    return known[copied]


def _file(model: Model, copied: bool) -> Path:
    told = {
        **environment(model),
        "config": repr(model.config),
        "vocabulary_size": model.vocabulary_size,
        "copy": copied,
        "table": VERSION,
    }
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:24]
    return cache_folder("costs") / f"{key}.json"


def _keep(costs: Costs, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        whole = file.with_suffix(f".{os.getpid()}")
        whole.write_text(json.dumps(costs.as_dict()))
        whole.replace(file)
    except OSError:  # a read-only home: measure again the next time
        return
