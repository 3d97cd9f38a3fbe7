"""What routes share: how they reach the service, and how their errors are documented."""

from typing import Annotated, Any, cast

from fastapi import Depends, Request

from dynexit.serve.errors import ErrorReply
from dynexit.serve.service import Service


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


TheService = Annotated[Service, Depends(_service)]


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's entry for statuses that carry an error."""
    return {status: {"model": ErrorReply} for status in statuses}


REFUSALS = errors(400, 401, 404, 413, 422, 429, 503, 504)
