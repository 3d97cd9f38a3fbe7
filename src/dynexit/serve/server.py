"""Runs uvicorn so that streams may end before it does."""

import asyncio
import errno
import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import uvicorn

from dynexit.errors import DynexitError, reason
from dynexit.serve.connections import ACCEPTED, Crowd, connection_of
from dynexit.serve.logs import USUAL, Logs, log_config

if TYPE_CHECKING:
    from fastapi import FastAPI

    from dynexit.serve.engine import Engine
    from dynexit.serve.service import Service

KEPT = 15  # seconds that a connection is kept for another request


class Server(uvicorn.Server):
    """Announces the end to the engine first: uvicorn then waits for what is still being sent."""

    def __init__(self, config: uvicorn.Config, engine: "Engine", crowd: Crowd) -> None:
        super().__init__(config)
        self._engine, self._crowd = engine, crowd

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        asyncio.get_running_loop().set_exception_handler(self._failed)
        await super().startup(sockets)

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """asyncio tries again in a second, and would write a traceback for each connection."""
        if getattr(context.get("exception"), "errno", None) in (errno.EMFILE, errno.ENFILE):
            self._crowd.say_so()
        else:
            loop.default_exception_handler(context)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more requests on, then end as connections do."""
        self._engine.stop()
        await super().shutdown(sockets)


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is any that is free.

    Raises:
        DynexitError: the address cannot be used.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=ACCEPTED)
    except (OSError, OverflowError) as error:
        raise DynexitError(f"cannot listen on {host}:{port}: {_why(error, port)}.") from error
    # Connections inherit it; asyncio would set it on sockets of its own making only. Without it an
    # event of a stream waits for the client to acknowledge the one before, up to 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _why(error: Exception, port: int) -> str:
    if isinstance(error, OverflowError):
        return "a port is a number from 0 to 65535"
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: choose another by --port, or 0 for a free one"
    return reason(error)


def make_server(app: "FastAPI", logs: Logs = USUAL) -> Server:
    """A server of `app` that keeps its limits on connections."""
    service: Service = app.state.service
    settings = service.settings
    crowd = Crowd(settings.connections, settings.patience)
    config = uvicorn.Config(
        app,
        http=connection_of(crowd),
        ws="none",
        backlog=ACCEPTED,
        log_config=log_config(logs),
        access_log=False,  # `Logged` writes more
        timeout_graceful_shutdown=int(settings.grace) + 10,  # the engine ends streams before
        timeout_keep_alive=KEPT,
    )
    return Server(config, service.engine, crowd)


def run(app: "FastAPI", listening: socket.socket, logs: Logs = USUAL) -> None:
    """Serve until SIGINT or SIGTERM."""
    logging.captureWarnings(True)
    with suppress(KeyboardInterrupt):  # raised again once all has ended
        make_server(app, logs).run(sockets=[listening])
