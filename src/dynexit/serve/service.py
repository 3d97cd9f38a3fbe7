"""From a request to texts on their way: prompts become sequences, and the engine runs them."""

import asyncio
import hashlib
from functools import cached_property
from time import time
from typing import Any

from dynexit.decoding.constraint import Constraint
from dynexit.decoding.detokenizing import special_tokens
from dynexit.decoding.earlier import EarlierTexts
from dynexit.decoding.predictions import Predictions, layer_predictions
from dynexit.decoding.reuse import Reuse
from dynexit.decoding.sampling_parameters import Sampling
from dynexit.decoding.sequence import Decoding
from dynexit.language_model import LanguageModel, Prompt
from dynexit.model.native.earlier import NativeEarlier
from dynexit.serve.allowed import Allowed
from dynexit.serve.calling.asking import NamedTool
from dynexit.serve.calling.families import constraint_of, family_of
from dynexit.serve.calling.telling import Caller
from dynexit.serve.card import About
from dynexit.serve.chats import Chats
from dynexit.serve.defaults import OPENAI, load_sampling
from dynexit.serve.echo import Echo
from dynexit.serve.engine import Engine
from dynexit.serve.errors import ApiError
from dynexit.serve.metrics import Metrics
from dynexit.serve.ongoing import Ongoing
from dynexit.serve.schema import Asked, ChatRequest, LayersRequest
from dynexit.serve.settings import Settings
from dynexit.serve.tokens import TokenNames
from dynexit.serve.work import Finished, Question, Text

RULES = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)


class Service:
    """A model, the engine that runs it, and what requests to it mean."""

    def __init__(
        self, lm: LanguageModel, settings: Settings, draft_model: LanguageModel | None = None
    ) -> None:
        self.lm, self.settings, self.draft_model = lm, settings, draft_model
        self.name = settings.name or lm.name
        self.created = int(time())
        self.prefixes = lm.prefix_cache(settings.cache_memory)
        self.earlier = EarlierTexts()
        self.metrics = Metrics(self.name, self.prefixes)
        self.engine = Engine(lm.model, settings, self.metrics)
        self._allowed = Allowed(settings, draft_model.kind if draft_model else None)
        self.chats = Chats(lm.tokenizer)
        self._allowed.prepare(lm)
        self.about = About.of(lm)
        self.names = TokenNames(lm.tokenizer)
        own = lm.folder if settings.generation_config else None
        self._defaults = load_sampling(own) if own else OPENAI

    @property
    def methods(self) -> list[str]:
        """Those that a request may name and that write plain decoding's text."""
        return self._allowed.lossless(self.lm.num_layers)

    async def start(
        self, asked: Asked, prompts: list[Prompt], request_id: str, client: str = ""
    ) -> Ongoing:
        """Put a request's texts into the queue.

        Args:
            client: whose texts these are: the API key that came with the request.
            request_id: also in the log, and in the reply.

        Raises:
            ApiError: the request cannot be served, or not now.
        """
        self.check_model(asked.model)
        method = asked.own.method or self.settings.method
        self._allowed.check(method, self.lm.num_layers)
        if len(prompts) * asked.choices > self.settings.max_choices:
            raise ApiError(
                400,
                f"{len(prompts) * asked.choices} texts are more than this server writes for one "
                f"request: ask for at most {self.settings.max_choices}.",
                param="n",
            )
        sequences = await asyncio.to_thread(self._sequences, asked, prompts, method, client)
        ongoing = Ongoing(method, sequences, asked.choices, request_id)
        most = self.settings.deadline
        seconds = min(asked.own.deadline_seconds or most, most)
        ongoing.works = [
            Text(sequence, ongoing.deliver(index), seconds, self.metrics)
            for index, sequence in enumerate(sequences)
        ]
        self.engine.submit(ongoing.works)
        for sequence in sequences[:: asked.choices]:
            self.metrics.prompt(sequence.prompt_length)
        return ongoing

    async def layers(self, asked: LayersRequest, request_id: str) -> Predictions:
        """What every layer predicts at some places of a text."""
        limit = self.lm.model.config.max_positions
        if len(asked.tokens) > limit + 1:
            raise ApiError(400, f"the context holds {limit} tokens.", param="tokens")
        if asked.start >= len(asked.tokens):
            raise ApiError(400, "start is past the text's last token.", param="start")
        if max(asked.tokens) >= self.lm.model.vocabulary_size:
            raise ApiError(400, "a token id is outside the vocabulary.", param="tokens")
        steps = layer_predictions(self.lm.model, asked.tokens, asked.start, asked.count)
        ongoing = Ongoing("", [], 1, request_id)
        ongoing.works = [Question(steps, ongoing.deliver(0), self.settings.deadline)]
        self.engine.submit(ongoing.works)
        try:
            result: Any = None
            async for _, event in ongoing.events():
                result = event.result if isinstance(event, Finished) else None
            return result
        finally:
            ongoing.cancel()

    def echoes(self, prompts: list[Prompt], ongoing: Ongoing) -> list[Echo]:
        """Every text's prompt."""
        of_prompts = [
            Echo.of(prompt, text.tokens[: text.prompt_length], self.lm.tokenizer)
            for prompt, text in zip(prompts, ongoing.sequences[:: ongoing.choices], strict=True)
        ]
        return [echo for echo in of_prompts for _ in range(ongoing.choices)]

    def check_model(self, name: str) -> None:
        """404 for any model but the one that is served."""
        if name != self.name:
            message = f"this server has the model {self.name!r} and no other."
            raise ApiError(404, message, param="model", code="model_not_found")

    def _earlier(self, asked: Asked, client: str) -> NativeEarlier | None:
        """Texts that a request's texts may be drafted from."""
        whose = self.settings.earlier_texts
        if whose == "none":
            return None
        group = f"{asked.cache_salt or ''} {client if whose == 'own' else ''}"
        return self.earlier.of(hashlib.sha256(group.encode()).hexdigest())

    def _sequences(
        self, asked: Asked, prompts: list[Prompt], method: str, client: str
    ) -> list[Decoding]:
        most = self.settings.max_new_tokens
        wanted = most if asked.token_limit is None else asked.token_limit
        if wanted > most:
            raise ApiError(
                400,
                f"{wanted} new tokens are more than this server writes: ask for at most {most}.",
            )
        if (least := asked.min_tokens or 0) > wanted:
            message = f"min_tokens is {least}, above the {wanted} tokens that a text may have."
            raise ApiError(400, message, param="min_tokens")
        given = {name: value for name in RULES if (value := getattr(asked, name)) is not None}
        rules = {**self._defaults, **given, "logit_bias": asked.biases}
        constraint = self._constraint(asked)
        reuse = Reuse(self.prefixes, self._earlier(asked, client), asked.cache_salt or "")
        return [
            self.lm.sequence(
                prompt,
                method,
                max_new_tokens=wanted,
                min_new_tokens=least,
                stop=asked.stops,
                stop_token_ids=asked.stop_token_ids or (),
                ignore_eos=bool(asked.ignore_eos),
                sampling=Sampling(**rules, seed=None if asked.seed is None else asked.seed + index),
                draft_model=self.draft_model,
                logprobs=asked.alternatives,
                prompt_logprobs=asked.scores_prompt,
                constraint=constraint,
                bad_words=asked.bad_words or (),
                reuse=reuse,
            )
            for prompt in prompts
            for index in range(asked.choices)
        ]

    def _constraint(self, asked: Asked) -> Constraint | None:
        """What the text must look like: calls of tools, or the shape that was asked for."""
        if not isinstance(asked, ChatRequest) or not (functions := asked.must_call):
            return asked.constraint
        family = family_of(self.chats.template)
        sign = next((token for token, text in self._special.items() if text == family.sign), None)
        return constraint_of(family, functions, not asked.one_call, sign)

    @cached_property
    def _special(self) -> dict[int, str]:
        return special_tokens(self.lm.tokenizer.backend) if self.lm.tokenizer else {}

    def caller(self, asked: ChatRequest) -> Caller | None:
        """What reads tool calls out of the texts of a request, where tools may be called."""
        if not asked.calls:
            return None
        family = family_of(self.chats.template)
        signs = {token: text for token, text in self._special.items() if text == family.sign}
        named = isinstance(asked.tool_choice, NamedTool)
        return Caller(family, asked.choices, signs, asked.one_call, named)

    async def encode_chat(self, asked: ChatRequest) -> list[int]:
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
        if asked.calls:
            family_of(self.chats.template)
        messages = [message.as_template_input for message in asked.messages]
        how = {**asked.rendering, "trust_messages": self.settings.trust_messages}
        return await self.chats.encode(messages, self.settings.deadline, **how)
