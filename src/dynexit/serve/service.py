"""From a request to texts on their way: prompts become sequences, and the engine runs them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import cache
from time import time
from typing import Any
from uuid import uuid4

from dynexit.decoding.controllers import methods
from dynexit.decoding.predictions import Predictions, layer_predictions
from dynexit.decoding.sampling_parameters import Sampling
from dynexit.decoding.sequence import Sequence
from dynexit.language_model import LanguageModel, Prompt
from dynexit.methods import is_allowed, lossless_methods, split_name
from dynexit.serve.chats import Chats
from dynexit.serve.engine import Engine
from dynexit.serve.errors import ApiError, as_api_error, log_if_ours
from dynexit.serve.metrics import Metrics
from dynexit.serve.schema import Asked, LayersRequest
from dynexit.serve.settings import Settings
from dynexit.serve.work import Event, Failed, Finished, Progress, Question, Text, Work

RULES = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)


class Ongoing:
    """The texts of one request. Belongs to the event loop that made it."""

    def __init__(self, method: str, sequences: list[Sequence]) -> None:
        self.id, self.method, self.sequences = uuid4().hex, method, sequences
        self.works: list[Work] = []
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()

    def deliver(self, index: int) -> Callable[[Event], None]:
        """Where the engine's thread tells of text `index`. It holds no text: no cycle keeps one."""
        loop, events = self._loop, self._events

        def tell(event: Event) -> None:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(events.put_nowait, (index, event))

        return tell

    async def events(self) -> AsyncIterator[tuple[int, Progress | Finished]]:
        """What happens, until every text has finished.

        Raises:
            ApiError: one of them failed.
        """
        left = len(self.works)
        while left:
            index, event = await self._events.get()
            if isinstance(event, Failed):
                log_if_ours(event.error, self.id)
                raise as_api_error(event.error)
            left -= isinstance(event, Finished)
            yield index, event

    def cancel(self) -> None:
        """Nobody waits any more: what still runs ends before the next pass."""
        for work in self.works:
            work.cancelled = True


class Service:
    """A model, the engine that runs it, and what requests to it mean."""

    def __init__(
        self, lm: LanguageModel, settings: Settings, draft_model: LanguageModel | None = None
    ) -> None:
        self.lm, self.settings, self.draft_model = lm, settings, draft_model
        self.name = settings.name or lm.name
        self.created = int(time())
        self.metrics = Metrics()
        self.engine = Engine(lm.model, settings, self.metrics)
        self.chats = Chats(lm.tokenizer)
        self._make_ready()
        self.piece = cache(lm.tokenizer.piece) if lm.tokenizer else lambda token: ""

    def _make_ready(self) -> None:
        """Measure and copy what methods need before anybody waits, and before others disturb it.

        Raises:
            DynexitError: a method that is not known.
        """
        allowed = methods() if self.settings.methods is None else self.settings.methods
        for method in (self.settings.method, *allowed):
            self.lm.controller(method)

    @property
    def methods(self) -> list[str]:
        """Those that a request may name and that write plain decoding's text."""
        allowed = self.settings.methods
        known = lossless_methods(self.lm.num_layers, self.draft_model is not None)
        return known if allowed is None else [name for name in allowed if split_name(name) in known]

    async def start(self, asked: Asked, prompts: list[Prompt]) -> Ongoing:
        """Put a request's texts into the queue.

        Raises:
            ApiError: the request cannot be served, or not now.
        """
        self.check_model(asked.model)
        method = self._method(asked)
        if len(prompts) * asked.n > self.settings.max_choices:
            raise ApiError(
                400,
                f"{len(prompts) * asked.n} texts are more than this server writes for one "
                f"request: ask for at most {self.settings.max_choices}.",
                param="n",
            )
        sequences = await asyncio.to_thread(self._sequences, asked, prompts, method)
        ongoing = Ongoing(method, sequences)
        most = self.settings.deadline
        seconds = min(asked.dynexit.deadline_seconds or most, most)
        ongoing.works = [
            Text(sequence, ongoing.deliver(index), seconds, self.metrics)
            for index, sequence in enumerate(sequences)
        ]
        self.engine.submit(ongoing.works)
        for sequence in sequences[:: asked.n]:
            self.metrics.prompt(sequence.prompt_length)
        return ongoing

    async def layers(self, asked: LayersRequest) -> Predictions:
        """What every layer predicts at some places of a text."""
        limit = self.lm.model.config.max_positions
        if len(asked.tokens) > limit + 1:
            raise ApiError(400, f"the context holds {limit} tokens.", param="tokens")
        if asked.start >= len(asked.tokens):
            raise ApiError(400, "start is past the text's last token.", param="start")
        if max(asked.tokens) >= self.lm.model.choosable:
            raise ApiError(400, "a token id is outside the vocabulary.", param="tokens")
        steps = layer_predictions(self.lm.model, asked.tokens, asked.start, asked.count)
        ongoing = Ongoing("", [])
        ongoing.works = [Question(steps, ongoing.deliver(0), self.settings.deadline)]
        self.engine.submit(ongoing.works)
        try:
            result: Any = None
            async for _, event in ongoing.events():
                result = event.result if isinstance(event, Finished) else None
            return result
        finally:
            ongoing.cancel()

    def check_model(self, name: str) -> None:
        """404 for any model but the one that is served."""
        if name != self.name:
            message = f"this server has the model {self.name!r} and no other."
            raise ApiError(404, message, param="model", code="model_not_found")

    def _method(self, asked: Asked) -> str:
        method = asked.dynexit.method or self.settings.method
        if ".py:" in method and method != self.settings.method:  # would run a file of the server's
            message = "a request may name the package's own methods only."
            raise ApiError(400, message, param="dynexit")
        allowed = self.settings.methods
        if allowed is not None and not is_allowed(method, (self.settings.method, *allowed)):
            named = ", ".join(dict.fromkeys((self.settings.method, *allowed)))
            message = f"this server does not run the method {method!r}: it runs {named}."
            raise ApiError(400, message, param="dynexit")
        return method

    def _sequences(self, asked: Asked, prompts: list[Prompt], method: str) -> list[Sequence]:
        most = self.settings.max_new_tokens
        wanted = most if asked.token_limit is None else asked.token_limit
        if wanted > most:
            raise ApiError(
                400,
                f"{wanted} new tokens are more than this server writes: ask for at most {most}.",
            )
        rules = {name: value for name in RULES if (value := getattr(asked, name)) is not None}
        rules.setdefault("temperature", 1.0)
        return [
            self.lm.sequence(
                prompt,
                method,
                max_new_tokens=wanted,
                stop=asked.stops,
                sampling=Sampling(**rules, seed=None if asked.seed is None else asked.seed + index),
                draft_model=self.draft_model,
                logprobs=asked.alternatives,
            )
            for prompt in prompts
            for index in range(asked.n)
        ]

    async def encode_chat(self, messages: list[dict[str, str]]) -> list[int]:
        """Token ids of a conversation.

        Raises:
            ApiError: the checkpoint has no chat template, or its template refuses this one.
        """
        if not self.chats.template:
            raise ApiError(
                400,
                f"{self.name} has no chat template: it was not trained on conversations; use "
                "/v1/completions.",
                code="no_chat_template",
            )
        return await self.chats.encode(messages, self.settings.deadline)
