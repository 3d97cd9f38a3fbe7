"""How a reply reaches the client: whole, or as server-sent events while rounds end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from dynexit.serve.counts import Piece, counts_of, trace_of, usage_of
from dynexit.serve.errors import ApiError
from dynexit.serve.forms import Form, ended
from dynexit.serve.ongoing import Ongoing
from dynexit.serve.schema import Asked
from dynexit.serve.work import Finished

NOT_BUFFERED = {"cache-control": "no-cache", "x-accel-buffering": "no"}


async def reply(
    request: Request, asked: Asked, ongoing: Ongoing, form: Form, piece: Piece
) -> Response:
    """The reply to a request. If the client disconnects, the work is cancelled."""
    if asked.stream:
        events = _stream(asked, ongoing, form, piece)
        return StreamingResponse(events, media_type="text/event-stream", headers=NOT_BUFFERED)
    try:
        await _unless_gone(request, ongoing)
    finally:
        ongoing.cancel()
    whole = form.whole(ongoing)
    return Response(whole.model_dump_json(), media_type="application/json")


async def _unless_gone(request: Request, ongoing: Ongoing) -> None:
    """Wait for every text; stop where the client hangs up."""

    async def all_texts() -> None:
        async for _ in ongoing.events():
            pass

    async def hung_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        raise ApiError(499, "the client is gone.")

    tasks = [asyncio.create_task(all_texts()), asyncio.create_task(hung_up())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, ApiError):
                await task


async def _stream(asked: Asked, ongoing: Ongoing, form: Form, piece: Piece) -> AsyncIterator[str]:
    try:
        for index in range(len(ongoing.sequences)):
            for chunk in form.opening(index):
                yield _event(chunk)
        async for chunk in _chunks(asked, ongoing, form, piece):
            yield _event(chunk)
        if asked.wants_usage:
            yield _event(form.counted(usage_of(ongoing)))
        yield "data: [DONE]\n\n"
    except ApiError as error:  # the status is sent already
        yield f'data: {{"error": {error.body.model_dump_json()}}}\n\n'
    finally:
        ongoing.cancel()


async def _chunks(
    asked: Asked, ongoing: Ongoing, form: Form, piece: Piece
) -> AsyncIterator[BaseModel]:
    rounds = [0] * len(ongoing.sequences)
    left = len(ongoing.sequences)
    async for index, event in ongoing.events():
        sequence = ongoing.sequences[index]
        if isinstance(event, Finished):
            left -= 1
            counts = None if left else counts_of(ongoing)
            if (last := form.chunk(index, [], ended(sequence), counts)) is not None:
                yield last
            continue
        trace = None
        if asked.own.trace:
            prompt = None if rounds[index] else sequence.tokens[: sequence.prompt_length]
            trace = trace_of(event, rounds[index], piece, prompt)
        rounds[index] += 1
        if (chunk := form.chunk(index, event.chunks, None, trace)) is not None:
            yield chunk


def _event(chunk: BaseModel) -> str:
    return f"data: {chunk.model_dump_json()}\n\n"
