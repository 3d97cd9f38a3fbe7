"""Who knows likely next tokens without running a layer: one file each, found by being here.

A file names its proposers in `PROPOSERS`: for each, a function of the facts that are known of the
model, which returns a `Proposer` for one text, or None where there is nothing to propose from.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

from dynexit.decoding.facts import Facts
from dynexit.decoding.records import Source
from dynexit.errors import DynexitError

# A token that may come next; the kind of the evidence for it, which says which of its proposer's
# priors holds until more is known; and what the proposer needs to know to go on from it, or None.
Candidate = tuple[int, int, Any]


class Proposer:
    """Proposes tokens after a text, and after tokens that have been proposed. Override `after`.

    Attributes:
        source: what its tokens are called in the text, once accepted.
        priors: how often its tokens are right before anything is seen, by kind of evidence.
    """

    source: ClassVar[Source] = "accepted"
    priors: tuple[float, ...] = ()

    def begin(self, tokens: list[int]) -> None:
        """A text begins: its prompt and its first token. The list grows with the text."""

    def place(self) -> Any:
        """Where the text ends now, as `after` wants to know it; asked once a round."""
        return None

    def after(self, path: Sequence[int], place: Any) -> Iterable[Candidate]:
        """What may follow, the likeliest first.

        Args:
            path: the last tokens before it, three at least where there are so many.
            place: of the last of them: a candidate's, or None where it is another's candidate.
        """
        return ()


Factory = Callable[[Facts], Proposer | None]


def make_proposers(names: Sequence[str], facts: Facts) -> list[Proposer]:
    """Those of one text that have something to propose from.

    Raises:
        DynexitError: there is none of that name.
    """
    known = proposers()
    if unknown := [name for name in names if name not in known]:
        raise DynexitError(
            f"the method names the unknown proposer {unknown[0]!r}: use one of {', '.join(known)}."
        )
    made = (known[name](facts) for name in names)
    return [one for one in made if one is not None]


@cache
def proposers() -> Mapping[str, Factory]:
    """Every proposer of this package by name."""
    found: dict[str, Factory] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        found.update(getattr(importlib.import_module(f"{__name__}.{module}"), "PROPOSERS", {}))
    return found
