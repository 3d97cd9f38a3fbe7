"""What a sequence's tokens become: nothing, or text that ends at a stop string."""

from collections.abc import Sequence
from typing import Protocol

from tokenizers import Tokenizer

from dynexit.decoding.detokenizing import Detokenizer, special_tokens
from dynexit.decoding.stopping import StopStrings


class TextSink(Protocol):
    """What a sequence tells its tokens to."""

    @property
    def stopped(self) -> bool:
        """Whether the text has ended itself."""

    def push(self, token: int) -> str:
        """Take one token; returns the text that is now certain."""

    def flush(self) -> str:
        """The text that was held back, at the end."""

    def whole(self) -> "TextSink":
        """The same sink for a text that is read only at its end."""


class NoText:
    """For a model without a tokenizer: there is no text, and nothing stops it."""

    stopped = False

    def push(self, token: int) -> str:
        """Nothing."""
        del token
        return ""

    def flush(self) -> str:
        """Nothing."""
        return ""

    def whole(self) -> "NoText":
        """Nothing."""
        return self


class TextStream:
    """Decodes incrementally, holds back what may become a stop string, cuts at the first one.

    Args:
        stop: strings that end the text; one may name special tokens, which are no text themselves.
        min_tokens: before so many tokens, no stop string ends the text.
    """

    def __init__(
        self, tokenizer: Tokenizer, prompt: Sequence[int], stop: Sequence[str], min_tokens: int = 0
    ) -> None:
        special = special_tokens(tokenizer)
        self._decoded = Detokenizer(tokenizer, prompt, special)
        self._stops = StopStrings(stop, special)
        self._left = min_tokens

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the text."""
        return self._stops.found

    def push(self, token: int) -> str:
        """Take one token; returns the text that is now certain to stand."""
        piece = self._decoded.push(token)
        if not self._stops:
            return piece
        self._left -= 1
        if self._left <= 0 and self._stops.ends(self._decoded.unsettled(self._stops.longest)):
            piece += self._decoded.settle()
        return self._stops.feed(piece + self._stops.mark(token), self._left <= 0)

    def flush(self) -> str:
        """What was held back, and what an unfinished character decodes to."""
        if self.stopped:
            return ""
        rest = self._stops.feed(self._decoded.settle(), self._left <= 0)
        return rest if self.stopped else rest + self._stops.release()

    def whole(self) -> TextSink:
        """Stop strings must be found on the way; without them, all tokens wait for the end."""
        return self if self._stops else _Waiting(self)


class _Waiting:
    """Tokens of a text without stop strings: between passes each would cost many times as much."""

    stopped = False

    def __init__(self, stream: TextStream) -> None:
        self._stream = stream
        self._tokens: list[int] = []

    def push(self, token: int) -> str:
        self._tokens.append(token)
        return ""

    def flush(self) -> str:
        return "".join(map(self._stream.push, self._tokens)) + self._stream.flush()

    def whole(self) -> "_Waiting":
        return self
