"""Drafters, one file each. Files in this folder are found automatically.

A file lists its drafters in `DRAFTERS`: for each, a function from `Given` to a `Drafter` for one
text.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import ClassVar, NamedTuple, Protocol

from dynexit.decoding.facts import Facts
from dynexit.decoding.limits import Limits
from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Draft, Offer
from dynexit.decoding.requests import Steps
from dynexit.decoding.sampling import Sampler
from dynexit.errors import DynexitError
from dynexit.model.interface import Cache, Described, Model
from dynexit.model.text_tokens import TextTokens


class Text(Protocol):
    """What a drafter sees of the text that it drafts for; `sequence.Decoding` is one.

    Attributes:
        tokens: tokens of the prompt and the text.
        shadowed: layers whose shadow tokens this round returns.
        draft_vocabulary: tokens of the head that exits choose among; None is all.
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
    def text_tokens(self) -> TextTokens | None:
        """What the text so far adds to them; None is nothing."""

    @property
    def alone(self) -> bool:
        """Whether no other sequence shares its passes, so that a draft may be one call."""


class Drafter:
    """Drafts tokens after a sequence's newest committed token. It never changes the sequence's
    tokens. Each text has its own drafter. Override what you need.

    Attributes:
        early: whether it runs the target's layers up to a plan's exit layer.
        passes: whether each token takes a forward pass of a model.
        reads: whether the target's choices after all rows of its last draft go to `read`.
    """

    reads: bool = False
    early: ClassVar[bool] = False
    passes: ClassVar[bool] = False

    def prefill(self, text: Text) -> Steps[None]:
        """Read the prompt: the sequence's tokens before the first new one is added."""
        yield from ()

    def offer(self, text: Text) -> Offer | None:
        """Return what it can offer before the round without a pass, or None. The controller sees
        the offer before it plans, and learns afterwards how it compared with the text.
        """

    def draft(self, text: Text, plan: Plan) -> Steps[Draft]:
        """Draft up to `plan.speculation_length` tokens. With an empty draft the round is a plain
        step.

        It may write keys and values of the target's layers that it runs, past the committed length.
        """
        yield from ()
        return Draft()

    def read(self, text: Text, draft: Draft, best: list[int]) -> None:
        """Take what the target chooses after each row of a draft, from row 0 on, accepted or not.
        Where it chooses nothing: `sampling.NO_TOKEN`. Called before the text grows.

        Args:
            draft: as it was verified: a grammar may have taken tokens from it.
        """


def taken_apart(model: Model, what: str) -> Model:
    """The model as one that leaves out sublayers and sees through a window.

    Args:
        what: the method does, that needs such a model.

    Raises:
        DynexitError: its layers cannot be taken apart.
    """
    if model.skipping is None:
        raise DynexitError(
            f"this method {what}, which {model.runtime_name} cannot: use another method."
        )
    return model.skipping


class Given(NamedTuple):
    """What drafters are made from: the names of a method's proposers, facts about the model, and
    the draft model, if there is one.
    """

    proposers: tuple[str, ...]
    facts: Facts
    second: Described | None


Factory = Callable[[Given], Drafter]


def make_drafters(names: Sequence[str], given: Given) -> dict[str, Drafter]:
    """Make the drafters of one text, by name.

    Raises:
        DynexitError: a name is unknown, or the drafter needs a draft model.
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
