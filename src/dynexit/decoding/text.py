"""Token ids to text, one at a time, and stop strings that span tokens."""

from collections.abc import Sequence
from typing import Protocol

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

UNFINISHED = "\ufffd"  # what part of a character decodes to
PROMPT_TAIL = 8  # prompt tokens that give the first new one its leading space


class TextSink(Protocol):
    """What a sequence tells its tokens to."""

    stopped: bool

    def push(self, token: int) -> str:
        """Take one token; returns the text that is now certain."""

    def flush(self) -> str:
        """The text that was held back, at the end."""

    def whole(self) -> "TextSink":
        """The same for a text that nobody reads before its end."""


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
    """Decodes incrementally, holds back what may become a stop string, cuts at the first one."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], stop: Sequence[str]) -> None:
        self._tokenizer, self._stop = tokenizer, [s for s in stop if s]
        tail = list(prompt[-PROMPT_TAIL:])
        if tokenizer.decode(tail).endswith(UNFINISHED):  # the stream would repeat it in the text
            tail = []
        self._stream = DecodeStream(ids=tail, skip_special_tokens=True)
        self._undecoded: list[int] = []
        self._held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """Take one token; returns the text that is now certain to stand."""
        piece = self._stream.step(self._tokenizer, token)
        if piece is None:
            self._undecoded.append(token)
            return ""
        self._undecoded.clear()
        return self._release(self._held + piece)

    def flush(self) -> str:
        """What was held back, and what an unfinished character decodes to."""
        rest = "" if self.stopped else self._held
        if self._undecoded and not self.stopped:
            rest += self._tokenizer.decode(self._undecoded)
        self._held = ""
        return rest

    def whole(self) -> TextSink:
        """Stop strings must be found on the way; without them, all tokens wait for the end."""
        return self if self._stop else _Waiting(self)

    def _release(self, text: str) -> str:
        found = [at for at in (text.find(s) for s in self._stop) if at >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        held = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


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


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that a longer `stop` begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
