"""The two shapes of a reply, completion and chat: whole, or in chunks."""

from collections.abc import Sequence
from time import time
from typing import Any, Protocol

from pydantic import BaseModel

from dynexit.decoding.logprobs import TokenLogprobs
from dynexit.decoding.sequence import Chunk
from dynexit.decoding.sequence import Sequence as Decoding
from dynexit.serve import replies
from dynexit.serve.counts import Piece, counts_of, usage_of
from dynexit.serve.replies import Counts, Ended, Trace, Usage
from dynexit.serve.service import Ongoing


def ended(sequence: Decoding) -> Ended:
    """OpenAI's word for how a text ended: the context's end is a limit like others."""
    return "stop" if sequence.finish_reason == "stop" else "length"


def text_of(chunks: Sequence[Chunk]) -> str:
    """What chunks say, one after the other."""
    return "".join(chunk.text for chunk in chunks)


def said_of(chunks: Sequence[Chunk]) -> list[tuple[Chunk, TokenLogprobs]]:
    """Chunks whose token has log-probabilities."""
    return [(chunk, chunk.logprobs) for chunk in chunks if chunk.logprobs is not None]


class Form(Protocol):
    """How replies to one route look."""

    def whole(self, ongoing: Ongoing, choices: int) -> BaseModel:
        """The reply when every text has ended."""

    def opening(self, index: int) -> list[BaseModel]:
        """Chunks that a text begins with."""

    def chunk(
        self, index: int, chunks: Sequence[Chunk], reason: Ended | None, more: Counts | Trace | None
    ) -> BaseModel:
        """What a round added to text `index`, or how it ended."""

    def counted(self, usage: Usage) -> BaseModel:
        """A stream's last chunk, for who wants usage."""


class CompletionForm:
    """/v1/completions."""

    def __init__(self, ongoing: Ongoing, model: str, piece: Piece) -> None:
        self._head: dict[str, Any] = {
            "id": f"cmpl-{ongoing.id}", "created": int(time()), "model": model
        }  # fmt: skip
        self._piece = piece
        self._lengths = [0] * len(ongoing.sequences)  # of the texts so far, for offsets

    def whole(self, ongoing: Ongoing, choices: int) -> BaseModel:
        """See `Form`."""
        listed = [
            self._choice(index, sequence.chunks, ended(sequence))
            for index, sequence in enumerate(ongoing.sequences)
        ]
        usage, counts = usage_of(ongoing, choices), counts_of(ongoing)
        return replies.Completion(**self._head, choices=listed, usage=usage, dynexit=counts)

    def opening(self, index: int) -> list[BaseModel]:
        """Nothing."""
        return []

    def chunk(
        self, index: int, chunks: Sequence[Chunk], reason: Ended | None, more: Counts | Trace | None
    ) -> BaseModel:
        """See `Form`."""
        choice = self._choice(index, chunks, reason)
        return replies.Completion(**self._head, choices=[choice], dynexit=more)

    def counted(self, usage: Usage) -> BaseModel:
        """See `Form`."""
        return replies.Completion(**self._head, choices=[], usage=usage)

    def _choice(
        self, index: int, chunks: Sequence[Chunk], reason: Ended | None
    ) -> replies.CompletionChoice:
        logprobs = self._logprobs(index, chunks)
        text = text_of(chunks)
        return replies.CompletionChoice(
            index=index, text=text, logprobs=logprobs, finish_reason=reason
        )

    def _logprobs(self, index: int, chunks: Sequence[Chunk]) -> replies.CompletionLogprobs | None:
        offsets = []
        for chunk in chunks:
            offsets += [self._lengths[index]] * len(chunk.token_ids)
            self._lengths[index] += len(chunk.text)
        said = [logprobs for _, logprobs in said_of(chunks)]
        if not said:
            return None
        return replies.CompletionLogprobs(
            tokens=[self._piece(one.token) for one in said],
            token_logprobs=[one.logprob for one in said],
            top_logprobs=[{self._piece(t): value for t, value in one.top} for one in said],
            text_offset=offsets,
        )


class ChatForm:
    """/v1/chat/completions."""

    def __init__(self, ongoing: Ongoing, model: str, piece: Piece) -> None:
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{ongoing.id}", "created": int(time()), "model": model
        }  # fmt: skip
        self._piece = piece

    def whole(self, ongoing: Ongoing, choices: int) -> BaseModel:
        """See `Form`."""
        listed = [
            replies.ChatChoice(
                index=index,
                message=replies.ChatMessage(content=text_of(sequence.chunks)),
                logprobs=self._logprobs(sequence.chunks),
                finish_reason=ended(sequence),
            )
            for index, sequence in enumerate(ongoing.sequences)
        ]
        usage, counts = usage_of(ongoing, choices), counts_of(ongoing)
        return replies.ChatCompletion(**self._head, choices=listed, usage=usage, dynexit=counts)

    def opening(self, index: int) -> list[BaseModel]:
        """Who speaks."""
        delta = replies.ChatDelta(role="assistant", content="")
        return [self._chunk(replies.ChatChunkChoice(index=index, delta=delta), None)]

    def chunk(
        self, index: int, chunks: Sequence[Chunk], reason: Ended | None, more: Counts | Trace | None
    ) -> BaseModel:
        """See `Form`."""
        choice = replies.ChatChunkChoice(
            index=index,
            delta=replies.ChatDelta(content=text_of(chunks) if chunks else None),
            logprobs=self._logprobs(chunks),
            finish_reason=reason,
        )
        return self._chunk(choice, more)

    def counted(self, usage: Usage) -> BaseModel:
        """See `Form`."""
        return replies.ChatChunk(**self._head, choices=[], usage=usage)

    def _chunk(self, choice: replies.ChatChunkChoice, more: Counts | Trace | None) -> BaseModel:
        return replies.ChatChunk(**self._head, choices=[choice], dynexit=more)

    def _logprobs(self, chunks: Sequence[Chunk]) -> replies.ChatLogprobs | None:
        said = [logprobs for _, logprobs in said_of(chunks)]
        if not said:
            return None
        return replies.ChatLogprobs(
            content=[
                replies.ChatLogprob(
                    **self._one(one.token, one.logprob),
                    top_logprobs=[replies.TopLogprob(**self._one(*pair)) for pair in one.top],
                )
                for one in said
            ]
        )

    def _one(self, token: int, logprob: float) -> dict[str, Any]:
        text = self._piece(token)
        known = None if "\ufffd" in text else list(text.encode())
        return {"token": text, "logprob": logprob, "bytes": known}
