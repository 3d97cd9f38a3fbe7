"""A real server on loopback, in this process."""

import asyncio
import logging
import threading
import time

import openai

from dynexit.serve.app import create_app
from dynexit.serve.logs import Logs
from dynexit.serve.server import make_server, open_socket

METHOD = "layerskip:exit_layer=3,speculation_length=3"
PROMPTS = (
    "Question: Tom has 4 boxes of 6 pens. How many pens has he?\nAnswer:",
    "German: Guten Morgen!\nEnglish:",
    "def area(width, height):\n",
    "The old house stood at the end of the lane, and",
)


class Unhurried:
    """A model whose whole passes take their time, so that no machine is through with a long text
    before a test has looked.
    """

    def __init__(self, model, seconds: float = 0.01) -> None:
        self._model, self._seconds = model, seconds

    def __getattr__(self, name):
        return getattr(self._model, name)

    def run_layers(self, hidden, rows, start, stop, *rest):
        if stop == self.config.num_layers:
            time.sleep(self._seconds)
        return self._model.run_layers(hidden, rows, start, stop, *rest)

    def verify(self, *arguments):
        time.sleep(self._seconds)
        return self._model.verify(*arguments)


class Running:
    """A server in a thread of its own."""

    def __init__(self, lm, settings) -> None:
        self.app = create_app(lm, settings)
        self.service = self.app.state.service
        self.engine = self.service.engine
        self._socket = open_socket("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = make_server(self.app, Logs("warning"))
        for name in ("uvicorn", "dynexit.serve"):
            logging.getLogger(name).propagate = True  # to `caplog`
        self.crowd = self._server.config.http.crowd
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
