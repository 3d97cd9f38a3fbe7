"""Where drafts come from: one file each, found by being here.

A file names its drafters in `DRAFTERS`: for each, a function of the second model (None where there
is none) that returns a `Drafter` for one sequence.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Protocol

from dynexit.decoding.records import Draft, Offer, Plan
from dynexit.decoding.requests import Steps
from dynexit.model.interface import Model

if TYPE_CHECKING:
    from dynexit.decoding.sequence import Sequence


class Drafter(Protocol):
    """Proposes tokens after a sequence's newest committed one; leaves its tokens alone."""

    def offer(self, sequence: "Sequence") -> Offer | None:
        """What it has at hand before the round, if anything: the controller is told."""

    def prefill(self, sequence: "Sequence") -> Steps[None]:
        """Read the prompt, where that must be done apart from the target's own reading."""

    def draft(self, sequence: "Sequence", plan: Plan) -> Steps[Draft]:
        """Up to `plan.speculation_length` tokens; none at all makes the round a plain step.

        It may write the KV of the target's layers that it runs, past the committed length.
        """


Factory = Callable[[Model | None], Drafter]


@cache
def drafters() -> Mapping[str, Factory]:
    """Every drafter of this package by name."""
    found: dict[str, Factory] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        found.update(getattr(importlib.import_module(f"{__name__}.{module}"), "DRAFTERS", {}))
    return found
