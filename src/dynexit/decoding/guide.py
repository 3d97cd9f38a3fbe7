"""Which tokens a text's grammar allows next, after the text and along any draft.

A mask depends only on the tokens before it, not on earlier calls. The grammar's state is rolled
back after looking along a draft.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dynexit.errors import DynexitError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

ENDED = ("NoExtension", "NoExtensionBias", "EndOfSentence")


class Guide:
    """Holds one text to its grammar. `tokens` are always those of the text without its prompt.

    Args:
        matcher: a compiled grammar, which stays as it is.
        names: the tokenizer that it was compiled for.
        ends: tokens that end the text.
        vocabulary: V, tokens that are chosen from.
    """

    def __init__(
        self, matcher: "LLMatcher", names: "LLTokenizer", ends: frozenset[int], vocabulary: int
    ) -> None:
        self._whole, self._names, self._vocabulary = matcher, names, vocabulary
        self._matcher = matcher.deep_copy()
        self._ends, known = ends, set(names.eos_tokens)
        self._more_ends = [token for token in ends - known if token < vocabulary]
        self._no_ends = [token for token in known - ends if token < vocabulary]
        self._read: list[int] = []  # what the matcher has taken
        self._masks: dict[tuple[int, ...], Tensor] = {}  # of refused tokens, by a draft's path
        self._length = 0  # of the text that they follow

    def refused(self, tokens: Sequence[int], path: Sequence[int] = ()) -> Tensor:
        """Tokens [V] that may not follow the text and then a draft's path; all of them, where the
        path itself breaks the grammar; none, where it ends the text: nothing follows.

        Raises:
            DynexitError: the grammar has become too complex to be followed.
        """
        if len(tokens) != self._length:
            self._length, self._masks = len(tokens), {}
        key = tuple(path)
        if path and path[-1] in self._ends:
            return torch.zeros(self._vocabulary, dtype=torch.bool)
        if key not in self._masks:
            followed = self._go([*tokens, *path], len(tokens))
            self._masks[key] = self._refused(tokens, path) if followed else self._all()
        return self._masks[key]

    def settled(self, tokens: Sequence[int], path: Sequence[int], best: int | None) -> int | None:
        """The likeliest allowed token, given the likeliest token `best`, without computing a mask,
        which costs many times as much. None if logits are needed.

        Args:
            best: None if it is not known.
        """
        if (path and path[-1] in self._ends) or not self._go([*tokens, *path], len(tokens)):
            return None
        if certain := self._matcher.compute_ff_tokens():
            return certain[0]
        doubtful = best is None or best in self._more_ends or best in self._no_ends
        if doubtful or self._matcher.validate_tokens([best]) == 0:
            return None
        return best

    def over(self, tokens: Sequence[int]) -> bool:
        """Whether no token can follow the text."""
        self._go(tokens, len(tokens))
        return self._matcher.is_stopped() and self._matcher.stop_reason() in ENDED

    def valid(self, tokens: Sequence[int], path: Sequence[int]) -> int:
        """How many of a path's tokens may follow the text, one after the other."""
        self._go(tokens, len(tokens))
        return self._matcher.validate_tokens(list(path))

    def foreseen(self, tokens: Sequence[int]) -> tuple[list[int], int]:
        """Tokens that come next as the grammar leaves no other, if there is one: all whose masks
        have one token, and after them those of the bytes which must follow, were they alone.
        Returns how many are certain, too.
        """
        self._go(tokens, len(tokens))
        certain = [] if self._matcher.is_stopped() else self._matcher.compute_ff_tokens()
        if not certain:
            return [], 0
        likely = self._names.tokenize_bytes(self._matcher.compute_ff_bytes())
        chain = likely if likely[: len(certain)] == certain else certain
        return chain[: self._matcher.validate_tokens(chain)], len(certain)

    def _go(self, wanted: Sequence[int], committed: int) -> bool:
        """Bring the matcher to where `wanted` ends, or as far as the grammar goes along.

        Raises:
            DynexitError: the first `committed` of them, which are the text, cannot be followed.
        """
        read = self._read
        same = len(read) if wanted[: len(read)] == read else _common(read, wanted)
        if same < len(read):
            self._matcher.rollback(len(read) - same)
        rest = list(wanted[same:])
        self._read = [*wanted[: same + (self._matcher.try_consume_tokens(rest) if rest else 0)]]
        if self._matcher.is_error():
            self._start_again(wanted[:committed])
        elif len(self._read) < committed:
            raise DynexitError("the grammar does not allow a token that is already in the text.")
        return len(self._read) == len(wanted)

    def _start_again(self, text: Sequence[int]) -> str:
        """From the grammar's beginning, after what it could not follow; returns why that was."""
        told = self._matcher.get_error().partition("\n")[0][:200]
        self._matcher, self._read = self._whole.deep_copy(), list(text)
        if self._matcher.try_consume_tokens(self._read) < len(text) or self._matcher.is_error():
            raise DynexitError(f"the grammar cannot be followed further: {told}")
        return told

    def _refused(self, tokens: Sequence[int], path: Sequence[int]) -> Tensor:
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            told = self._start_again(tokens)
            if path:
                return self._all()
            raise DynexitError(f"the grammar cannot be followed further: {told}")
        allowed = np.zeros(self._vocabulary, np.uint8)
        known = np.unpackbits(bits, count=min(len(bits) * 8, self._vocabulary), bitorder="little")
        allowed[: len(known)] = known
        allowed[self._no_ends] = 0
        if self._matcher.is_accepting():
            allowed[self._more_ends] = 1
        return torch.from_numpy(allowed == 0)

    def _all(self) -> Tensor:
        return torch.ones(self._vocabulary, dtype=torch.bool)


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens both begin with."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
