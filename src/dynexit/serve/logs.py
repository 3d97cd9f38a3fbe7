"""One log line per request: time, client, path, outcome, duration, tokens and id.

All lines go to standard error, including uvicorn's own, as text or JSON objects. They never contain
texts, keys or queries.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Any
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dynexit.errors import DynexitError

log = logging.getLogger("dynexit.serve")
LONGEST_PATH = 200
LEVELS = ("debug", "info", "warning", "error")
FORMS = ("text", "json")


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
            told = _told(scope, status, perf_counter() - began)
            log.info(_line(told), extra={"request": told})


def _told(scope: Scope, status: int, seconds: float) -> dict[str, Any]:
    """Of a request; status 0 is of a client that left before there was an answer."""
    client = scope.get("client") or ("-",)
    path = scope.get("raw_path", b"")[:LONGEST_PATH].decode("ascii", "backslashreplace")
    told = {"client": client[0], "method": scope["method"], "path": path, "status": status}
    told |= {"seconds": round(seconds, 6), "request_id": scope["state"]["request_id"]}
    if (ongoing := scope["state"].get("ongoing")) is not None:
        told |= {"prompt_tokens": ongoing.prompt_tokens, "tokens": ongoing.tokens}
    return told


def _line(told: dict[str, Any]) -> str:
    request = f'{told["client"]} "{told["method"]} {told["path"]}"'
    words = [f"{request} {told['status'] or 'gone'} {told['seconds']:.3f} s"]
    if "tokens" in told:
        words.append(f"{told['prompt_tokens']} + {told['tokens']} tokens")
    return ", ".join([*words, f"id {told['request_id']}"])


class JsonLines(logging.Formatter):
    """A record as one object of JSON in one line."""

    def format(self, record: logging.LogRecord) -> str:
        """`time` (ISO 8601, UTC), `level`, `message`; of a request its parts in place of the last;
        of an error `traceback`.
        """
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {"time": at, "level": record.levelname.lower()}
        told |= getattr(record, "request", None) or {"message": record.getMessage()}
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told)


@dataclass(frozen=True)
class Logs:
    """What is logged, and how.

    Attributes:
        level: debug, info, warning or error.
        form: text or json.
    """

    level: str = "info"
    form: str = "text"

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise DynexitError(f"log level {self.level!r} is not {one_of(LEVELS)}.")
        if self.form not in FORMS:
            raise DynexitError(f"log format {self.form!r} is not {one_of(FORMS)}.")


def one_of(names: Sequence[str]) -> str:
    """Names as a sentence lists them."""
    return ", ".join(names[:-1]) + f" or {names[-1]}"


USUAL = Logs()


def log_config(logs: Logs) -> dict[str, Any]:
    """For `logging.config`: lines with their time, on standard error."""
    own = {"handlers": ["lines"], "level": logs.level.upper(), "propagate": False}
    text = {"format": "%(asctime)s %(levelname)s %(message)s"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": JsonLines} if logs.form == "json" else text},
        "handlers": {
            "lines": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "stream": "ext://sys.stderr",
            }
        },
        "loggers": {"uvicorn": own, "dynexit.serve": own, "py.warnings": own},
    }
