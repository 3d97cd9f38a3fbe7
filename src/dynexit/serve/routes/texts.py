"""/v1/completions and /v1/chat/completions."""

import asyncio
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from dynexit.language_model import Prompt
from dynexit.serve import replies
from dynexit.serve.forms import ChatForm, CompletionForm
from dynexit.serve.keys import check_key
from dynexit.serve.replying import reply
from dynexit.serve.routes.common import REFUSALS, TheService
from dynexit.serve.schema import ChatRequest, CompletionRequest

router = APIRouter(prefix="/v1", tags=["texts"], dependencies=[Depends(check_key)])


def _documented(whole: type, chunk: type) -> dict[int | str, dict[str, Any]]:
    stream = {"text/event-stream": {"schema": {"type": "string", "title": chunk.__name__}}}
    return {**REFUSALS, 200: {"model": whole, "content": stream}}


def _from(request: Request) -> tuple[str, str]:
    """A request's id, and the key that it came with."""
    return request.state.request_id, request.headers.get("authorization", "")


@router.post("/completions", responses=_documented(replies.Completion, replies.Completion))
async def completions(request: Request, asked: CompletionRequest, service: TheService) -> Response:
    """Continue prompts."""
    prompts: list[Prompt] = list(asked.prompts)
    ongoing = request.state.ongoing = await service.start(asked, prompts, *_from(request))
    echoes = await asyncio.to_thread(service.echoes, prompts, ongoing) if asked.echo else []
    form = CompletionForm(ongoing, asked, service.name, service.names, echoes)
    return await reply(request, asked, ongoing, form, service.names.text)


@router.post("/chat/completions", responses=_documented(replies.ChatCompletion, replies.ChatChunk))
async def chat_completions(request: Request, asked: ChatRequest, service: TheService) -> Response:
    """Answer in a conversation."""
    service.check_model(asked.model)
    prompt = await service.encode_chat(asked)
    ongoing = request.state.ongoing = await service.start(asked, [prompt], *_from(request))
    form = ChatForm(ongoing, asked, service.name, service.names, service.caller(asked))
    return await reply(request, asked, ongoing, form, service.names.text)
