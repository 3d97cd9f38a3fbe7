"""Proposes what followed the longest match of the text's last tokens in earlier texts, by how often
it did (as SuffixDecoding does, Oliaro et al. 2024).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from dynexit.decoding.proposers import Candidate, Proposer
from dynexit.model.native.earlier import NativeEarlier

LENGTHS = (3, 4, 8, 16)  # from which on matches count as longer ones
OFTEN = 5  # kinds of how often it followed: parts of all places, and one place alone
# How often a token is right before anything is seen: by length of match about what `lookup` has,
# which goes by one place; times its share of several.
MATCHED, SHARES = (0.5, 0.7, 0.85, 0.95), (0.15, 0.4, 0.65, 1.0, 1.0)


class Earlier(Proposer):
    """Tokens by length of match, and by their share of what followed."""

    source = "earlier"
    priors = tuple(matched * share for matched in MATCHED for share in SHARES)

    def __init__(self, texts: NativeEarlier) -> None:
        self._find = texts.find

    def after(self, path: Sequence[int], place: Any) -> Iterable[Candidate]:
        """What followed, the most frequent first."""
        found = self._find(path)
        first = (sum(found.length >= least for least in LENGTHS) - 1) * OFTEN
        return [
            (token, first + (4 if found.total == 1 else min(4 * count // found.total, 3)), None)
            for token, count in zip(found.tokens, found.counts, strict=True)
        ]


PROPOSERS = {"earlier": lambda facts: None if facts.earlier is None else Earlier(facts.earlier)}
