"""Host names that requests may use when the server has no key.

A web page can point its own host name at this machine's address (DNS rebinding). A browser then
takes our answers for the page's own; only the Host header shows the difference.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from dynexit.serve.errors import ApiError


class KnownHosts:
    """403 for a Host that is not this machine's loopback and not one of `names`.

    Args:
        names: of hosts; an address that means all of a machine's allows every address.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = {name.lower().strip("[]") for name in names}
        self._any_address = any(_is_every_address(name) for name in self._names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        given = [value for name, value in scope.get("headers", ()) if name == b"host"]
        if scope["type"] != "http" or all(map(self._knows, given)):  # a browser always sends one
            await self._app(scope, receive, send)
            return
        host = ascii(given[0].decode("latin-1")[:100])
        message = f"this server is not {host}: start it with --allowed-host, or with a key."
        await ApiError(403, message, code="unknown_host").closing(scope, receive, send)

    def _knows(self, given: bytes) -> bool:
        try:
            host = urlsplit(f"//{given.decode('ascii')}").hostname or ""
        except ValueError:
            return False
        if host == "localhost" or host.endswith(".localhost") or host in self._names:
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return address.is_loopback or self._any_address


def _is_every_address(name: str) -> bool:
    try:
        return ip_address(name).is_unspecified
    except ValueError:
        return not name
