"""Proposers of likely next tokens that run no layer, one file each. Files in this folder are found
automatically.

A file lists its proposers in `PROPOSERS`: for each, a function from the model's `Facts` to a
`Proposer` for one text, or None if there is nothing to propose from.
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
        source: the source of its accepted tokens in the text.
        priors: prior probability that its tokens are right, by kind of evidence.
    """

    source: ClassVar[Source] = "accepted"
    priors: tuple[float, ...] = ()

    def begin(self, tokens: list[int]) -> None:
        """Begin a text, with its prompt and first token. The list grows with the text."""

    def place(self) -> Any:
        """The place of the text's end, to pass to `after`; called once per round."""
        return None

    def after(self, path: Sequence[int], place: Any) -> Iterable[Candidate]:
        """Candidates for the next token, the likeliest first.

        Args:
            path: the preceding tokens, the last three at least if there are as many.
            place: place of the last of them: from a candidate, or None for another proposer's.
        """
        return ()


Factory = Callable[[Facts], Proposer | None]


def make_proposers(names: Sequence[str], facts: Facts) -> list[Proposer]:
    """Make the proposers of one text that have something to propose from.

    Raises:
        DynexitError: a name is unknown.
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
