"""The application: routes, limits, and an engine that lives as long as it does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from dynexit.language_model import LanguageModel
from dynexit.serve import errors
from dynexit.serve.hosts import KnownHosts
from dynexit.serve.limits import BodyLimit, Counted, Heads
from dynexit.serve.logs import Logged
from dynexit.serve.routes import about, page, texts
from dynexit.serve.service import Service
from dynexit.serve.settings import Settings


def create_app(
    lm: LanguageModel, settings: Settings | None = None, draft_model: LanguageModel | None = None
) -> FastAPI:
    """An ASGI application that serves `lm`.

    Args:
        draft_model: the smaller model of methods that draft with one.

    Raises:
        DynexitError: settings that cannot be served.
    """
    service = Service(lm, settings or Settings(), draft_model)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        service.engine.start()
        service.chats.start()
        try:
            yield
        finally:
            service.chats.close()
            service.engine.close()

    app = FastAPI(title="dynexit", version=version("dynexit"), lifespan=lifespan)
    app.state.service = service
    for router in (texts.router, about.keyed, about.router, page.router):
        app.include_router(router)
    errors.install(app)
    app.add_middleware(BodyLimit, most=service.settings.max_body)
    if service.settings.api_key is None:
        app.add_middleware(KnownHosts, names=service.settings.hosts)
    app.add_middleware(Counted, metrics=service.metrics)
    app.add_middleware(Heads)
    if service.settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.cors,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after"],
        )
    app.add_middleware(Logged)
    return app
