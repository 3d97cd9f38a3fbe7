"""Errors in OpenAI's format: one sentence, a type, the field that it is about, a code."""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from dynexit.errors import DynexitError
from dynexit.schema_words import must_be
from dynexit.serve.idle import IDLE

log = logging.getLogger("dynexit.serve")
INVALID = "invalid_request_error"


class ErrorBody(BaseModel):
    """What was wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorReply(BaseModel):
    """The body of every reply that is not 2xx."""

    error: ErrorBody


class ApiError(Exception):
    """A refusal or a failure that is reported to the client.

    Args:
        param: the request's field that was wrong.
        retry_after: seconds; None tells clients not to try again by themselves.
    """

    def __init__(
        self,
        status: int,
        message: str,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after
        self.body = ErrorBody(message=message, type=kind, param=param, code=code)

    @property
    def reply(self) -> JSONResponse:
        """The whole reply."""
        headers = {"x-should-retry": "false"}
        if self.retry_after is not None:
            headers = {"retry-after": str(self.retry_after)}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return JSONResponse({"error": self.body.model_dump()}, self.status, headers)

    async def closing(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the whole reply, after which nothing more is read of this connection."""
        reply = self.reply
        reply.headers["connection"] = "close"
        await reply(scope, receive, send)


def queue_full(waiting: int) -> ApiError:
    """429: too many wait already."""
    message = f"{waiting} texts are waiting already: try again in a moment."
    return ApiError(429, message, "rate_limit_error", code="queue_full", retry_after=1)


def shutting_down() -> ApiError:
    """503: the server is about to end."""
    message = "the server is shutting down: try again elsewhere, or later."
    return ApiError(503, message, "server_error", code="shutting_down", retry_after=5)


def deadline_passed(seconds: float) -> ApiError:
    """504: given up."""
    message = f"the text was not finished within {seconds:g} seconds: ask for fewer tokens."
    return ApiError(504, message, "server_error", code="deadline_exceeded")


def internal() -> ApiError:
    """500: a fault of ours, whose details stay in the log."""
    return ApiError(500, "an internal error ended this request.", "server_error", code="internal")


def as_api_error(error: Exception) -> ApiError:
    """The client's view of `error`: bad input by name, anything else without details."""
    if isinstance(error, ApiError):
        return error
    return ApiError(400, str(error)) if isinstance(error, DynexitError) else internal()


def log_if_ours(error: Exception, request: str) -> None:
    """Log what clients do not see: where an internal error happened."""
    if as_api_error(error).status == 500:
        log.error("request %s failed", request, exc_info=error)


def install(app: FastAPI) -> None:
    """Give every error of `app` this format."""

    @app.exception_handler(ApiError)
    @app.exception_handler(DynexitError)
    @app.exception_handler(Exception)
    async def of_ours(request: Request, error: Exception) -> JSONResponse:
        del request
        return as_api_error(error).reply

    @app.exception_handler(RequestValidationError)
    async def of_schema(request: Request, error: RequestValidationError) -> JSONResponse:
        return _of_schema(error.errors(), request.headers.get("content-type")).reply

    @app.exception_handler(HTTPException)
    async def of_routing(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{request.method} {request.url.path}: {error.detail}."
        reply = ApiError(error.status_code, message).reply
        reply.headers.update(error.headers or {})
        return reply


def _of_schema(errors: Sequence[Any], content_type: str | None) -> ApiError:
    """A sentence about what does not fit the schema, the innermost fault. It repeats no value."""
    if "json" not in (content_type or ""):
        message = "the body is not read as JSON: send the header content-type: application/json."
        return ApiError(400, message)
    error = max(errors, key=lambda one: len(one["loc"]))
    where = ".".join(str(part) for part in error["loc"] if part != "body" and not _is_type(part))
    field = where.split(".")[0] or None
    subject = where or "the body"
    empty = error.get("ctx", {}).get("max_length") == 0  # all that may be there is nothing
    if error["type"] == "extra_forbidden" or field in IDLE or empty:
        return ApiError(400, f"{subject} is not supported here: leave it out.", param=field)
    if error["type"] == "json_invalid":
        return ApiError(400, "the body is not valid JSON.")
    if error["type"] == "missing":
        return ApiError(400, f"{subject} is missing.", param=field)
    if (words := must_be(error)) is not None:
        return ApiError(400, f"{subject} must be {words}.", param=field)
    reason = error["msg"].removeprefix("Value error, ")
    return ApiError(400, f"{subject}: {reason[0].lower()}{reason[1:]}.", param=field)


def _is_type(part: str | int) -> bool:
    """Whether a part of an error's place names one of several types, and nothing in the body."""
    return isinstance(part, str) and (part in ("str", "int") or "-" in part or "[" in part)
