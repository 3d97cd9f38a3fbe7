"""Where the text's last tokens stood before: the longest match, for drafts that cost nothing.

Prompt lookup (Saxena 2023) with the longest match in the place of a fixed length.
"""

from itertools import cycle, islice

LONGEST = 32  # a longer match says no more


class Suffixes:
    """A text of tokens as a string, a character each: Python searches strings fast.

    Args:
        tokens: the text, which only grows; read, never written.
    """

    def __init__(self, tokens: list[int]) -> None:
        self._tokens, self._text = tokens, "".join(map(chr, tokens))

    def find(self) -> tuple[int, int]:
        """(position, match): the text's last `match` tokens also stand right before `position`.

        Of the longest matches the latest; match is 0 where the last token is new.
        """
        self._text = text = self._text + "".join(map(chr, self._tokens[len(self._text) :]))
        last = len(text) - 1
        place, match, most = 0, 0, min(LONGEST, last)
        while match < most:  # whatever is there before is there with fewer tokens, too
            size = max(1, min(2 * match, (match + most + 1) // 2))
            found = text.rfind(text[-size:], 0, last)
            if found < 0:
                most = size - 1
            else:
                place, match = found + size, size
        return place, match

    def after(self, place: int, count: int) -> list[int]:
        """`count` tokens from `place` on, going round where the text ends in a repetition."""
        found = self._tokens[place : place + count]
        missing = count - len(found)
        return [*found, *islice(cycle(found), missing)] if missing else found
