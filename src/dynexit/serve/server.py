"""uvicorn, told to let streams end before it does."""

import logging
import socket
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from dynexit.errors import DynexitError
from dynexit.serve.engine import Engine
from dynexit.serve.logs import log_config
from dynexit.serve.service import Service


class Server(uvicorn.Server):
    """Announces the end to the engine first: uvicorn then waits for what is still being sent."""

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self._engine = engine

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
        listening = socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        raise DynexitError(f"cannot listen on {host}:{port}: {error}.") from error
    # Connections inherit it; asyncio would set it on sockets of its own making only. Without it an
    # event of a stream waits for the client to acknowledge the one before, up to 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def run(app: FastAPI, listening: socket.socket, log_level: str = "info") -> None:
    """Serve until SIGINT or SIGTERM."""
    service: Service = app.state.service
    config = uvicorn.Config(
        app,
        log_config=log_config(log_level),
        access_log=False,  # `Logged` writes more
        timeout_graceful_shutdown=int(service.settings.grace)
        + 10,  # the engine ends streams before
        timeout_keep_alive=15,
    )
    logging.captureWarnings(True)
    with suppress(KeyboardInterrupt):  # raised again once all has ended
        Server(config, service.engine).run(sockets=[listening])
