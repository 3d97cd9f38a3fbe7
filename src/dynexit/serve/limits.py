"""Middleware of every request: limits its size, counts its outcome, answers HEAD."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dynexit.serve.errors import ApiError
from dynexit.serve.metrics import Metrics

LENGTHS = {b"content-length", b"transfer-encoding"}


class BodyLimit:
    """413 for a body that is too long, whatever its headers promise; 400 where two of these say
    where it ends: programs between a client and this one may go by the other.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if {name for name, _ in scope.get("headers", ())} >= LENGTHS:
            message = "the request has a content-length and a transfer-encoding: send one of them."
            await ApiError(400, message).closing(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._most:
                raise HTTPException(413, f"the body is longer than {self._most} bytes")
            return message

        await self._app(scope, counted, send)


class Counted:
    """Counts requests by route and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                self._metrics.request(route, message["status"])
            await send(message)

        await self._app(scope, receive, counting if scope["type"] == "http" else send)


class Heads:
    """HEAD is GET without a body, which the server leaves out itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
