"""Replies of chats with tools: whole messages, or what a round adds to a stream."""

from collections.abc import Iterable, Mapping, Sequence

from dynexit.decoding.state import Chunk
from dynexit.serve.calling.families import Family
from dynexit.serve.calling.reading import Argued, Began, CallReader, Piece, Said
from dynexit.serve.replies import CallDelta, CalledDelta, Ended, MessageCall, MessageCalled


class Caller:
    """Reads the calls of a request's texts.

    Args:
        count: of texts.
        signs: special tokens that are read as their names.
        one: whether a text has one call at most.
        named: whether the client has chosen what is called.
    """

    def __init__(
        self, family: Family, count: int, signs: Mapping[int, str], one: bool, named: bool
    ) -> None:
        self._readers = [CallReader(family, one) for _ in range(count)]
        self._signs, self._named = signs, named

    def feed(self, index: int, chunks: Sequence[Chunk], ends: bool) -> list[Piece]:
        """What chunks of a text say, and at its end what was held back."""
        reader, pieces = self._readers[index], []
        for chunk in chunks:
            signs = (self._signs.get(token, "") for token in chunk.token_ids)
            pieces += reader.feed(chunk.text + "".join(signs))
        return [*pieces, *reader.end()] if ends else pieces

    def reason(self, index: int, reason: Ended) -> Ended:
        """How a text ended, for a client that waits for calls."""
        called = self._readers[index].count > 0
        return "tool_calls" if called and reason == "stop" and not self._named else reason


def said(pieces: Iterable[Piece]) -> str | None:
    """The text among pieces; None where there is none."""
    return "".join(piece.text for piece in pieces if isinstance(piece, Said)) or None


def call_deltas(pieces: Iterable[Piece]) -> list[CallDelta] | None:
    """The calls among pieces, as a stream tells them; None where there are none."""
    deltas: dict[int, CallDelta] = {}
    for piece in pieces:
        if isinstance(piece, Began):
            called = CalledDelta(name=piece.name, arguments="")
            deltas[piece.index] = CallDelta(
                index=piece.index, id=piece.id, type="function", function=called
            )
        elif isinstance(piece, Argued):
            empty = CallDelta(index=piece.index, function=CalledDelta(arguments=""))
            delta = deltas.setdefault(piece.index, empty)
            delta.function.arguments += piece.text
    return list(deltas.values()) or None


def calls(pieces: Iterable[Piece]) -> list[MessageCall] | None:
    """The calls among a whole text's pieces; None where there are none."""
    found = [
        MessageCall(
            id=delta.id or "",
            function=MessageCalled(
                name=delta.function.name or "", arguments=delta.function.arguments
            ),
        )
        for delta in call_deltas(pieces) or []
    ]
    return found or None
