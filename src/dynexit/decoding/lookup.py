"""Where the text's last tokens stood before: the longest match, for drafts that cost nothing.

Prompt lookup (Saxena 2023) with the longest match in the place of a fixed length.
"""

from collections import defaultdict

RECENT = 24  # places that are compared, the latest first
LONGEST = 32  # a longer match says no more


class Suffixes:
    """Places of single tokens and pairs in a text that only grows.

    Args:
        tokens: the text; read, never written, and indexed as far as `extend` was told.
    """

    def __init__(self, tokens: list[int]) -> None:
        self._tokens, self._indexed = tokens, 0
        self._ends: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)

    def extend(self) -> None:
        """Index what the text has gained: after each token and pair, the position that follows."""
        tokens = self._tokens
        for end in range(max(self._indexed, 1), len(tokens)):
            self._ends[(tokens[end - 1],)].append(end)
            if end > 1:
                self._ends[(tokens[end - 2], tokens[end - 1])].append(end)
        self._indexed = len(tokens)

    def find(self) -> tuple[int, int]:
        """(position, match): the text's last `match` tokens also stand right before `position`.

        Of the longest matches the latest; match is 0 where the last token is new.
        """
        tokens, best, longest = self._tokens, 0, 0
        places = self._ends.get(tuple(tokens[-2:])) or self._ends.get((tokens[-1],), [])
        for place in places[: -RECENT - 1 : -1]:
            match = self._match(place)
            if match > longest:
                best, longest = place, match
                if match == LONGEST:
                    break
        return best, longest

    def _match(self, place: int) -> int:
        tokens, last = self._tokens, len(self._tokens)
        limit, match = min(place, LONGEST), 1
        while match < limit and tokens[place - match - 1] == tokens[last - match - 1]:
            match += 1
        return match

    def after(self, place: int, count: int) -> list[int]:
        """`count` tokens from `place` on, going round where the text ends in a repetition."""
        found = self._tokens[place : place + count]
        period = len(found)
        return [found[index % period] for index in range(count)] if period else []
