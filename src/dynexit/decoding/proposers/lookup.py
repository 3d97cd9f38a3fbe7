"""Proposes what followed the longest match of the text's last tokens, in the text itself."""

from collections.abc import Iterable, Sequence

from dynexit.decoding.proposers import Candidate, Proposer
from dynexit.decoding.suffixes import Suffixes

# How often the next token is right after so many matching ones: rounded from traces of the bundled
# model.
MATCHED = (0.35, 0.50, 0.50, 0.60, 0.64, 0.74, 0.77, 0.78, 0.79, 0.83, 0.85, 0.88, 0.92)


# A place in the text; how many tokens before it are also the text's last ones; and the place from
# which it is read again where the text ends in a repetition.
Match = tuple[int, int, int]


class Lookup(Proposer):
    """Owns the index of one text's tokens."""

    source = "lookup"
    priors = MATCHED

    def begin(self, tokens: list[int]) -> None:
        """Index the prompt."""
        self._tokens, self._suffixes = tokens, Suffixes(tokens)

    def place(self) -> Match | None:
        """The longest match; None where the last token is new."""
        position, length = self._suffixes.find()
        return (position, length, position) if length else None

    def after(self, path: Sequence[int], place: Match | None) -> Iterable[Candidate]:
        """The token that followed, if any did."""
        if place is None:
            return ()
        position, length, begin = place
        position = position if position < len(self._tokens) else begin
        kind = min(length, len(MATCHED)) - 1
        return ((self._tokens[position], kind, (position + 1, length + 1, begin)),)


PROPOSERS = {"lookup": lambda facts: Lookup()}
