"""The two shapes of a reply, completion and chat: whole, or in chunks."""

from collections.abc import Sequence
from time import time
from typing import Any, Protocol

from pydantic import BaseModel

from dynexit.decoding.logprobs import TokenLogprobs
from dynexit.decoding.sequence import Decoding
from dynexit.decoding.state import Chunk
from dynexit.serve import replies
from dynexit.serve.calling.telling import Caller, call_deltas, calls, said
from dynexit.serve.counts import counts_of, usage_of
from dynexit.serve.echo import Echo
from dynexit.serve.ongoing import Ongoing
from dynexit.serve.replies import Counts, Ended, Trace, Usage
from dynexit.serve.schema import ChatRequest, CompletionRequest
from dynexit.serve.tokens import TokenNames


def ended(sequence: Decoding) -> Ended:
    """OpenAI's word for how a text ended: the context's end is a limit like others."""
    return "stop" if sequence.finish_reason == "stop" else "length"


def text_of(chunks: Sequence[Chunk]) -> str:
    """What chunks say, one after the other."""
    return "".join(chunk.text for chunk in chunks)


def said_of(chunks: Sequence[Chunk]) -> list[tuple[Chunk, TokenLogprobs]]:
    """Chunks whose token has log-probabilities."""
    return [(chunk, chunk.logprobs) for chunk in chunks if chunk.logprobs is not None]


def speak(chunks: Sequence[Chunk]) -> bool:
    """Whether chunks say anything."""
    return any(chunk.text or chunk.logprobs for chunk in chunks)


class Form(Protocol):
    """How replies to one route look."""

    def whole(self, ongoing: Ongoing) -> BaseModel:
        """The reply when every text has ended."""

    def opening(self, index: int) -> list[BaseModel]:
        """Chunks that a text begins with."""

    def chunk(
        self, index: int, chunks: Sequence[Chunk], reason: Ended | None, more: Counts | Trace | None
    ) -> BaseModel | None:
        """What a round added to text `index`, or how it ended; None where there is nothing to
        tell.
        """

    def counted(self, usage: Usage) -> BaseModel:
        """A stream's last chunk, if usage was asked for."""


class CompletionForm:
    """/v1/completions.

    Args:
        echoes: what stands before each text; none where it was not asked for.
    """

    def __init__(
        self,
        ongoing: Ongoing,
        asked: CompletionRequest,
        model: str,
        names: TokenNames,
        echoes: Sequence[Echo] = (),
    ) -> None:
        self._head: dict[str, Any] = {
            "id": f"cmpl-{ongoing.id}", "created": int(time()), "model": model
        }  # fmt: skip
        self._names, self._as_ids = names, bool(asked.return_tokens_as_token_ids)
        self._sequences, self._echoes, self._scored = ongoing.sequences, echoes, asked.scores_prompt
        self._lengths = [0] * len(ongoing.sequences)  # of the texts so far, for offsets
        self._echoed: set[int] = set()

    def whole(self, ongoing: Ongoing) -> BaseModel:
        """See `Form`."""
        listed = [
            self._choice(index, sequence.chunks, ended(sequence))
            for index, sequence in enumerate(ongoing.sequences)
        ]
        usage, counts = usage_of(ongoing), counts_of(ongoing)
        return replies.Completion(**self._head, choices=listed, usage=usage, dynexit=counts)

    def opening(self, index: int) -> list[BaseModel]:
        """Nothing."""
        return []

    def chunk(
        self, index: int, chunks: Sequence[Chunk], reason: Ended | None, more: Counts | Trace | None
    ) -> BaseModel | None:
        """See `Form`."""
        if reason is None and more is None and not speak(chunks):
            return None
        choice = self._choice(index, chunks, reason)
        return replies.Completion(**self._head, choices=[choice], dynexit=more)

    def counted(self, usage: Usage) -> BaseModel:
        """See `Form`."""
        return replies.Completion(**self._head, choices=[], usage=usage)

    def _choice(
        self, index: int, chunks: Sequence[Chunk], reason: Ended | None
    ) -> replies.CompletionChoice:
        text, logprobs = "", None
        if self._echoes and index not in self._echoed:
            text, logprobs = self._echo(index)
        logprobs = joined(logprobs, self._logprobs(index, chunks, reason is not None))
        return replies.CompletionChoice(
            index=index, text=text + text_of(chunks), logprobs=logprobs, finish_reason=reason
        )

    def _echo(self, index: int) -> tuple[str, replies.CompletionLogprobs | None]:
        echo = self._echoes[index]
        self._echoed.add(index)
        self._lengths[index] = len(echo.text)
        if not self._scored:
            return echo.text, None
        return echo.text, echo.logprobs(self._sequences[index], self._names, self._as_ids)

    def _logprobs(
        self, index: int, chunks: Sequence[Chunk], ends: bool
    ) -> replies.CompletionLogprobs | None:
        offsets = []
        for chunk in chunks:
            offsets += [self._lengths[index]] * len(chunk.token_ids)
            self._lengths[index] += len(chunk.text)
        said = [logprobs for _, logprobs in said_of(chunks)]
        last = self._sequences[index].end_logprobs
        if ends and self._scored and last is not None:  # scoring clients expect one more token
            said.append(last)
            offsets.append(self._lengths[index])
        if not said:
            return None
        return replies.CompletionLogprobs(
            tokens=[self._names.name(one.token, self._as_ids) for one in said],
            token_logprobs=[one.logprob for one in said],
            top_logprobs=[self._names.top(one, self._as_ids) for one in said],
            text_offset=offsets,
        )


def joined(
    first: replies.CompletionLogprobs | None, second: replies.CompletionLogprobs | None
) -> replies.CompletionLogprobs | None:
    """Log-probabilities of tokens that follow one another."""
    if first is None or second is None:
        return first or second
    lists = {name: [*value, *getattr(second, name)] for name, value in first}
    return replies.CompletionLogprobs(**lists)


class ChatForm:
    """/v1/chat/completions.

    Args:
        caller: reads tool calls; None where there are none to be called.
    """

    def __init__(
        self,
        ongoing: Ongoing,
        asked: ChatRequest,
        model: str,
        names: TokenNames,
        caller: Caller | None = None,
    ) -> None:
        self._caller = caller
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{ongoing.id}", "created": int(time()), "model": model
        }  # fmt: skip
        self._names, self._as_ids = names, bool(asked.return_tokens_as_token_ids)

    def whole(self, ongoing: Ongoing) -> BaseModel:
        """See `Form`."""
        listed = [
            replies.ChatChoice(
                index=index,
                message=self._message(index, sequence.chunks),
                logprobs=self._logprobs(sequence.chunks),
                finish_reason=self._reason(index, ended(sequence)),
            )
            for index, sequence in enumerate(ongoing.sequences)
        ]
        usage, counts = usage_of(ongoing), counts_of(ongoing)
        return replies.ChatCompletion(**self._head, choices=listed, usage=usage, dynexit=counts)

    def opening(self, index: int) -> list[BaseModel]:
        """Who speaks."""
        delta = replies.ChatDelta(role="assistant", content="")
        return [self._chunk(replies.ChatChunkChoice(index=index, delta=delta), None)]

    def chunk(
        self, index: int, chunks: Sequence[Chunk], reason: Ended | None, more: Counts | Trace | None
    ) -> BaseModel | None:
        """See `Form`."""
        delta = self._delta(index, chunks, reason is not None)
        told = delta.content or delta.tool_calls or any(chunk.logprobs for chunk in chunks)
        if reason is None and more is None and not told:
            return None
        choice = replies.ChatChunkChoice(
            index=index,
            delta=delta,
            logprobs=self._logprobs(chunks),
            finish_reason=None if reason is None else self._reason(index, reason),
        )
        return self._chunk(choice, more)

    def _message(self, index: int, chunks: Sequence[Chunk]) -> replies.ChatMessage:
        if self._caller is None:
            return replies.ChatMessage(content=text_of(chunks))
        pieces = self._caller.feed(index, chunks, ends=True)
        found, text = calls(pieces), said(pieces)
        return replies.ChatMessage(content=text if found else text or "", tool_calls=found)

    def _delta(self, index: int, chunks: Sequence[Chunk], ends: bool) -> replies.ChatDelta:
        if self._caller is None:
            return replies.ChatDelta(content=text_of(chunks) if chunks else None)
        pieces = self._caller.feed(index, chunks, ends)
        return replies.ChatDelta(content=said(pieces), tool_calls=call_deltas(pieces))

    def _reason(self, index: int, reason: Ended) -> Ended:
        return reason if self._caller is None else self._caller.reason(index, reason)

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
        known = self._names.bytes_of(token)
        text = self._names.name(token, True) if self._as_ids else self._names.text(token)
        return {"token": text, "logprob": logprob, "bytes": None if known is None else list(known)}
