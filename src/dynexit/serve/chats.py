"""Renders conversations to token ids, outside the event loop and in a process that can be killed.

Not responsible for that process (`chat_worker.py`). One conversation is rendered at a time; the
others wait without a thread of their own.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Timer
from typing import Any

from dynexit.errors import DynexitError
from dynexit.model.tokenizer import CheckpointTokenizer
from dynexit.serve.errors import ApiError, deadline_passed

SECONDS = 5.0  # of computing that a conversation may take,
PATIENCE = 60.0  # whatever else the machine computes meanwhile
STARTING = 120.0  # that the process has until it is ready
SECRETS = ("DYNEXIT_API_KEY", "HF_TOKEN")


class Chats:
    """A checkpoint's chat template, where it has one. The process starts with `start`, and again
    after a conversation that it did not survive.
    """

    def __init__(self, tokenizer: CheckpointTokenizer | None, seconds: float = SECONDS) -> None:
        self._tokenizer, self.seconds = tokenizer, seconds
        self._one = ThreadPoolExecutor(1, thread_name_prefix="dynexit-chats")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def template(self) -> str | None:
        """The template; None for a checkpoint that was not trained on conversations."""
        return self._tokenizer.loaded.chat_template if self._tokenizer else None

    def start(self) -> None:
        """Begin, where there is a template; the first conversation waits for the rest."""
        if self.template:
            self._one.submit(self._running)

    def close(self) -> None:
        """End the process, and what it is doing."""
        self._one.shutdown(wait=False, cancel_futures=True)
        if (process := self._process) is not None:
            process.kill()
        self._one.shutdown()
        if process is not None:
            process.communicate()

    async def encode(
        self, messages: Sequence[dict[str, Any]], deadline: float, **options: Any
    ) -> list[int]:
        """Token ids of a conversation; options as for `CheckpointTokenizer.encode_chat`.

        Raises:
            ApiError: `deadline` seconds were over before its turn came.
            DynexitError: the template cannot be run, refuses these messages, or does not end.
        """
        asked = {
            "seconds": self.seconds,
            "template": self.template,
            "messages": list(messages),
            "options": options,
        }
        answering = asyncio.wrap_future(self._one.submit(self._ask, asked))
        try:
            answer = await asyncio.wait_for(answering, deadline)
        except TimeoutError:
            raise deadline_passed(deadline) from None
        if (refused := answer.get("refused")) is not None:
            raise ApiError(400, refused, param="messages")
        tokens: list[int] = answer["tokens"]
        return tokens

    def _ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        process = self._running()
        answer = _exchange(process, json.dumps(asked).encode() + b"\n", PATIENCE)
        if not answer:
            self._end(process)
            raise DynexitError(
                f"the model's chat template exceeded its limit of {self.seconds:g} CPU seconds or "
                "of memory: shorten the conversation."
            )
        told: dict[str, Any] = json.loads(answer)
        return told

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            assert self._tokenizer is not None
            self._process = _started(self._tokenizer)
            if not _exchange(self._process, b"", STARTING):
                self._end(self._process)
                raise RuntimeError("the process that renders conversations does not start")
        return self._process

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = None
        process.kill()
        process.communicate()


def _started(tokenizer: CheckpointTokenizer) -> "subprocess.Popen[bytes]":
    """The process; it finds our modules where we did, and knows no secrets."""
    told = {name: value for name, value in os.environ.items() if name not in SECRETS}
    told["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    told |= {"TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}
    module = ["-P", "-m", "dynexit.serve.chat_worker"]
    command = [sys.executable, *module, str(tokenizer.folder), str(os.getpid())]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=told)


def _exchange(process: "subprocess.Popen[bytes]", question: bytes, seconds: float) -> bytes:
    """The line that answers a question; empty where none came in time: the process has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    late = Timer(seconds, process.kill)
    late.start()
    try:
        process.stdin.write(question)
        process.stdin.flush()
        return process.stdout.readline()
    except OSError:
        return b""
    finally:
        late.cancel()
