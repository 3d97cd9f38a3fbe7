"""Tokens of one text that its drafts choose among beside the usual ones.

A text repeats its rare tokens. With those of prompt and text so far, a few usual tokens hold more
of it than many without (MicroSpec, arXiv 2605.26444; figures: docs/results.md).
"""

from collections.abc import Container, Iterator, Sequence
from itertools import groupby

MOST = 1_024  # tokens of a text


class TextTokens:
    """Tokens of a prompt and its text so far that are not among the usual draft tokens.

    Args:
        usual: tokens that drafts read for every text.
        room: how many are held at most. The newest stay.

    Attributes:
        tokens: in the order in which drafts read them, each once.
    """

    def __init__(self, usual: Container[int], room: int) -> None:
        self.tokens: list[int] = []
        self._usual, self._room = usual, room
        self._held: set[int] = set()
        self._read = self._next = 0  # tokens of the text so far, and the place of the next new one

    def follow(self, text: Sequence[int]) -> None:
        """Add tokens that the text has gained since the last call."""
        gained = reversed(text[self._read :])
        self._read = len(text)
        fresh = [
            token
            for token in dict.fromkeys(gained)
            if token not in self._usual and token not in self._held
        ]
        fresh = fresh[: self._room][::-1]
        while fresh:
            part = fresh[: self._room - self._next]
            self._put(self._next, part)
            self._next = (self._next + len(part)) % self._room
            fresh = fresh[len(part) :]

    def _put(self, place: int, tokens: list[int]) -> None:
        """Hold tokens from a place on, past the last one or instead of others."""
        stop = place + len(tokens)
        self._held.difference_update(self.tokens[place:stop])
        self._held.update(tokens)
        self.tokens[place:stop] = tokens


def texts_of(rows: Sequence[TextTokens]) -> Iterator[tuple[slice, TextTokens]]:
    """Neighbouring rows of one text that adds any tokens; `rows` holds each row's text."""
    start = 0
    for _, group in groupby(rows, key=id):
        one, *others = group
        if one.tokens:
            yield slice(start, start + 1 + len(others)), one
        start += 1 + len(others)
