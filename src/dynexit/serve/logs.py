"""One line a request: when, from whom, what, how it ended, how long it took, its tokens, its id.

All lines go to standard error, uvicorn's own among them. Texts, keys and queries are in none.
"""

import logging
from time import perf_counter
from typing import Any
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("dynexit.serve")
LONGEST_PATH = 200


class Logged:
    """Writes the line, and tells the client the request's id as `x-request-id`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = perf_counter(), 0
        scope.setdefault("state", {})["request_id"] = known = uuid4().hex

        async def watching(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = known
            await send(message)

        try:
            await self._app(scope, receive, watching)
        except Exception:
            status = 500
            raise
        finally:
            log.info(_line(scope, status, perf_counter() - began))


def _line(scope: Scope, status: int, seconds: float) -> str:
    client = scope.get("client") or ("-",)
    path = scope.get("raw_path", b"")[:LONGEST_PATH].decode("ascii", "backslashreplace")
    words = [f'{client[0]} "{scope["method"]} {path}" {status or "gone"} {seconds:.3f} s']
    if (ongoing := scope["state"].get("ongoing")) is not None:
        words.append(f"{ongoing.prompt_tokens} + {ongoing.tokens} tokens")
    return ", ".join([*words, f"id {scope['state']['request_id']}"])


def log_config(level: str) -> dict[str, Any]:
    """For `logging.config`: lines with their time, on standard error."""
    own = {"handlers": ["lines"], "level": level.upper(), "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
        "handlers": {
            "lines": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "stream": "ext://sys.stderr",
            }
        },
        "loggers": {"uvicorn": own, "dynexit.serve": own, "py.warnings": own},
    }
