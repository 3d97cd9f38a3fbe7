"""A real server on loopback, in this process, and what its answers must equal."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import openai
import pytest

import dynexit
from dynexit.serve.app import create_app
from dynexit.serve.server import Server, open_socket
from dynexit.serve.settings import Settings

uvicorn = pytest.importorskip("uvicorn")
PROMPTS = (
    "Question: Tom has 4 boxes of 6 pens. How many pens has he?\nAnswer:",
    "German: Guten Morgen!\nEnglish:",
    "def area(width, height):\n",
    "The old house stood at the end of the lane, and",
)


class Running:
    """A server in a thread of its own."""

    def __init__(self, lm, settings) -> None:
        self.app = create_app(lm, settings)
        self.service = self.app.state.service
        self.engine = self.service.engine
        self._socket = open_socket("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(self.app, log_level="warning", timeout_graceful_shutdown=10)
        self._server = Server(config, self.engine)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()

    def client(self, key: str = "none", **options) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, **options)


@pytest.fixture(scope="session")
def lm() -> dynexit.LanguageModel:
    """The model that comes along, in the default runtime."""
    return dynexit.load(device="cpu", check=False)


@pytest.fixture(scope="session")
def serving(lm):
    """Start servers with settings of a test's own."""

    @contextmanager
    def start(model=None, **settings) -> Iterator[Running]:
        with Running(model or lm, Settings(**{"method": METHOD, "grace": 5.0, **settings})) as it:
            yield it

    return start


METHOD = "layerskip:exit_layer=3,speculation_length=3"


@pytest.fixture(scope="session")
def server(serving) -> Iterator[Running]:
    """A server with default limits, for tests that leave it as it was."""
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def client(server) -> openai.OpenAI:
    return server.client()
