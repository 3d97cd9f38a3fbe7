"""Limits on connections: how many may be open, and how long one may take to send a request.

Not responsible for requests: uvicorn's protocol reads them, and `limits.py` bounds their bodies.
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from time import monotonic
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from dynexit.serve.errors import ApiError

log = logging.getLogger("dynexit.serve")
ACCEPTED = 128  # connections at once; they have descriptors before they can be counted
OTHERS = 64  # descriptors that are no connections
AGAIN = 60.0  # seconds until the same is logged again


class Crowd:
    """The connections of a server.

    Where one more comes than there may be, the one goes that has kept a request waiting for
    longest; where all of them have asked for something, the new one.

    Args:
        most: connections at the same time; fewer where this process may not open so many.
        seconds: for a request to arrive whole, and for a client to take what it is sent.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds = min(most, _room()), seconds
        self._open: set[Connection] = set()
        self._unfinished: dict[Connection, None] = {}  # in the order in which they began to wait
        self._logged = -AGAIN

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: "Connection") -> None:
        """Take a connection on, at the cost of another one where there is no room."""
        self._open.add(connection)
        if len(self._open) <= self.most:
            return
        self.say_so()
        waiting = next(iter(self._unfinished), connection)
        if waiting is connection:
            connection.refuse()
        else:
            waiting.drop()

    def wait(self, connection: "Connection") -> None:
        """Its next request has not arrived whole."""
        self._unfinished.setdefault(connection)

    def leave(self, connection: "Connection", gone: bool) -> None:
        """Its request has arrived, or it is gone itself."""
        self._unfinished.pop(connection, None)
        if gone:
            self._open.discard(connection)

    def say_so(self) -> None:
        """Warn that there are too many, once in a while."""
        if monotonic() - self._logged >= AGAIN:
            self._logged = monotonic()
            log.warning(
                "there are %d connections, and more want in: those go that send no request",
                self.most,
            )


class Deadline:
    """Something that happens so many seconds after `begin`, unless `end` comes before."""

    def __init__(self, seconds: float, action: Callable[[], None]) -> None:
        self._seconds, self._action = seconds, action
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """It goes on where it has begun."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._action)

    def end(self) -> None:
        """Nothing happens."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None


class Connection(H11Protocol):
    """A connection with deadlines. Its class knows the crowd that it is of: see `connection_of`."""

    crowd: ClassVar[Crowd]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._arrival = Deadline(self.crowd.seconds, self.drop)
        self._departure = Deadline(self.crowd.seconds, self.drop)
        self.crowd.admit(self)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone, or was closed."""
        self._arrival.end()
        self._departure.end()
        self.crowd.leave(self, gone=True)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A piece of a request. The first one after a reply begins its time anew."""
        if self.timeout_keep_alive_task is not None:
            self._arrival.end()
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """A reply has been sent."""
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """The client takes no more for now."""
        super().pause_writing()
        self._departure.begin()

    def resume_writing(self) -> None:
        """It does."""
        super().resume_writing()
        self._departure.end()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, where a reply to it has not begun."""
        del msg
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            reply = ApiError(400, "this is no HTTP request that can be read.").reply
            told = [*reply.raw_headers, (b"connection", b"close")]
            for event in (
                h11.Response(status_code=400, headers=told),
                h11.Data(data=bytes(reply.body)),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def refuse(self) -> None:
        """There is no room."""
        self.transport.write(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n")
        self.transport.write(b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()

    def drop(self) -> None:
        """It has had its time."""
        self.crowd.leave(self, gone=True)
        self.transport.abort()

    def _look(self) -> None:
        """Whether the next request, or the rest of one, is yet to come."""
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY) and not self.transport.is_closing():
            self.crowd.wait(self)
            self._arrival.begin()
        else:
            self.crowd.leave(self, gone=False)
            self._arrival.end()


def connection_of(crowd: Crowd) -> type[Connection]:
    """The class of a server's connections, for uvicorn to make."""
    return type("Connection", (Connection,), {"crowd": crowd})


def _room() -> int:
    """Connections that this process has descriptors for."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return sys.maxsize
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if most == resource.RLIM_INFINITY else max(most - ACCEPTED - OTHERS, 1)
