"""Where drafts come from: one file each, found by being here.

A file names its drafters in `DRAFTERS`: for each, a function of what is `Given` that returns a
`Drafter` for one text.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import ClassVar, NamedTuple, Protocol

from dynexit.decoding.facts import Facts
from dynexit.decoding.limits import Limits
from dynexit.decoding.records import Draft, Offer, Plan
from dynexit.decoding.requests import Steps
from dynexit.decoding.sampling import Sampler
from dynexit.errors import DynexitError
from dynexit.model.interface import Cache, Model


class Text(Protocol):
    """What a drafter sees of the text that it drafts for; `sequence.Decoding` is one.

    Attributes:
        tokens: the prompt's and the text's.
        shadowed: layers whose shadow tokens this round brings.
        draft_vocabulary: tokens of the head that exits read; None is all.
    """

    model: Model
    sampler: Sampler
    limits: Limits
    cache: Cache
    tokens: list[int]
    prompt_length: int
    shadowed: tuple[int, ...]
    draft_vocabulary: int | None

    @property
    def alone(self) -> bool:
        """Whether nobody could join its passes, so that a draft may be one call."""


class Drafter:
    """Proposes tokens after a sequence's newest committed one; leaves its tokens alone. One is made
    for each text. Override what you need.

    Attributes:
        early: whether it runs the target's layers up to a plan's exit layer.
        passes: whether each token takes a pass of a model.
    """

    early: ClassVar[bool] = False
    passes: ClassVar[bool] = False

    def prefill(self, text: Text) -> Steps[None]:
        """Read the prompt: the sequence's tokens, which the first new one has not joined yet."""
        yield from ()

    def offer(self, text: Text) -> Offer | None:
        """What it has at hand before the round, if anything: the controller is told of it, and it
        is told what became of it.
        """

    def draft(self, text: Text, plan: Plan) -> Steps[Draft]:
        """Up to `plan.speculation_length` tokens; none at all makes the round a plain step.

        It may write the KV of the target's layers that it runs, past the committed length.
        """
        yield from ()
        return Draft()


class Given(NamedTuple):
    """What drafters are made of: the names of a method's proposers, what is known of the model, and
    the draft model, if there is one.
    """

    proposers: tuple[str, ...]
    facts: Facts
    second: Model | None


Factory = Callable[[Given], Drafter]


def make_drafters(names: Sequence[str], given: Given) -> dict[str, Drafter]:
    """Those of one text, by name.

    Raises:
        DynexitError: there is none of that name, or it needs a draft model.
    """
    known = drafters()
    if unknown := [name for name in names if name not in known]:
        raise DynexitError(
            f"the method names the unknown drafter {unknown[0]!r}: use one of {', '.join(known)}."
        )
    return {name: known[name](given) for name in names}


@cache
def drafters() -> Mapping[str, Factory]:
    """Every drafter of this package by name."""
    found: dict[str, Factory] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        found.update(getattr(importlib.import_module(f"{__name__}.{module}"), "DRAFTERS", {}))
    return found
