"""Measured costs, kept between runs: one small file per model, machine, dtype and threads."""

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dynexit.costs.measuring import measure_costs
from dynexit.costs.table import Costs
from dynexit.environment import environment

if TYPE_CHECKING:
    from dynexit.language_model import LanguageModel


def costs_of(lm: "LanguageModel") -> Costs:
    """Costs of this model here: read, or measured and kept where there is room for a file."""
    told = {
        **environment(lm),
        "config": repr(lm.model.config),
        "choosable": lm.model.choosable,
        "copy": getattr(lm.model, "draft_copy", None) is not None,
    }
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:24]
    file = _folder() / f"{key}.json"
    try:
        return Costs.from_dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):  # not there, or not whole
        costs = measure_costs(lm.model)
        _keep(costs, file)
        return costs


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
