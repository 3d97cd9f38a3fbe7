"""Access control: open to all clients, or only to those with the server's key."""

import hmac
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from dynexit.serve.errors import ApiError

bearer = HTTPBearer(auto_error=False, description="The server's key, where it has one.")


async def check_key(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> None:
    """401 without the right key. The comparison takes equally long for every wrong one."""
    key: str | None = request.app.state.service.settings.api_key
    if key is None:
        return
    offered = given.credentials if given else ""
    if not hmac.compare_digest(offered.encode("latin-1"), key.encode()):  # the bytes as they came
        message = "the API key is missing or wrong: send `Authorization: Bearer KEY`."
        raise ApiError(401, message, "authentication_error", code="invalid_api_key")
