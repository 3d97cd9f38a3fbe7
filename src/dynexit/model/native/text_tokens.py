"""Rows of the head for tokens of one text, in the library's memory."""

from collections.abc import Container, Sequence
from ctypes import c_int64, c_void_p
from typing import Any, Protocol, cast

from dynexit.model.native.binding import Held, Uncopied
from dynexit.model.text_tokens import TextTokens


class Owner(Protocol):
    """What these need of their model."""

    runtime: Any
    handle: int

    def call(self, function: str, *given: Any) -> None:
        """Call a function of the library."""


class NativeTextTokens(TextTokens, Uncopied):
    """See `TextTokens`. Rows are taken from the model's head when their tokens come."""

    def __init__(self, model: Owner, usual: Container[int], room: int) -> None:
        super().__init__(usual, room)
        self._model = model
        self._memory = Held.of(model.runtime, "text_tokens", model.handle, room)
        self.handle = self._memory.handle

    def _put(self, place: int, tokens: list[int]) -> None:
        super()._put(place, tokens)
        given = (c_int64 * len(tokens))(*tokens)
        self._model.call(
            "text_tokens_put", self.handle, self._model.handle, place, given, len(tokens)
        )


def handle_of(one: TextTokens | None) -> int | None:
    """As the library knows it."""
    return None if one is None else cast(NativeTextTokens, one).handle


def handles_of(rows: Sequence[TextTokens]) -> Any:
    """Of each row of a pass, as the library reads them."""
    return (c_void_p * len(rows))(*map(handle_of, rows))
