"""Fields of requests: the supported ones of OpenAI's, and a few of our own.

Other fields, and values that ask for unsupported features, are refused by name.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from dynexit.errors import DynexitError
from dynexit.serve.calling.asking import Calling
from dynexit.serve.fields import AT_LEAST_1, Strict, Utf8, is_unicode
from dynexit.serve.idle import Idle, Nothing
from dynexit.serve.messages import Message
from dynexit.serve.shapes import Shaped

TokenId = Annotated[int, Field(ge=0)]
TokenKey = Annotated[str, Field(pattern="^[0-9]{1,9}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]
BadWord = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(is_unicode)]
Stop = Annotated[str, Field(max_length=200), AfterValidator(is_unicode)]


class StreamOptions(Strict):
    """How a stream is sent."""

    include_usage: bool | None = None
    include_obfuscation: Annotated[bool | None, Field(description="Ignored.")] = None


class OwnOptions(Strict):
    """What only this server has."""

    method: Annotated[
        Utf8 | None,
        Field(max_length=200, description="Such as `layerskip:exit_layer=3,speculation_length=3`."),
    ] = None
    trace: Annotated[bool | None, Field(description="Tell of every round in a stream.")] = None
    deadline_seconds: Annotated[
        float | None, Field(ge=0.01, description="Give up earlier than the server would.")
    ] = None


class Asked(Idle, Shaped):
    """What both kinds of request have in common."""

    model: Utf8
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int | None, Field(ge=1)] = None
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    stop_token_ids: Annotated[list[TokenId] | None, Field(max_length=256)] = None
    ignore_eos: bool | None = None
    min_tokens: Annotated[int | None, Field(ge=0)] = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    logit_bias: Annotated[dict[TokenKey, Bias] | None, Field(max_length=1024)] = None
    bad_words: Annotated[list[BadWord] | None, Field(max_length=256)] = None
    return_tokens_as_token_ids: bool | None = None
    cache_salt: Annotated[Utf8 | None, Field(min_length=1, max_length=1024)] = None
    dynexit: OwnOptions | None = None

    @property
    def choices(self) -> int:
        """Texts for each prompt."""
        return self.n or 1

    @property
    def own(self) -> OwnOptions:
        """`dynexit`, whether it was there or not."""
        return self.dynexit or OwnOptions()

    @property
    def stops(self) -> list[str]:
        """Stop strings."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def biases(self) -> dict[int, float] | None:
        """`logit_bias` by token."""
        given = self.logit_bias
        return None if given is None else {int(token): bias for token, bias in given.items()}

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def scores_prompt(self) -> bool:
        """Whether log-probabilities of the prompt are wanted."""
        return False

    @property
    def token_limit(self) -> int | None:
        """New tokens that each text may have; None is as many as there is room for."""
        raise NotImplementedError

    @property
    def alternatives(self) -> int | None:
        """Tokens whose log-probabilities are wanted beside the chosen one's; None for no logprobs.

        Raises:
            DynexitError: fields that contradict each other.
        """
        raise NotImplementedError


class CompletionRequest(Asked):
    """POST /v1/completions."""

    tools: Nothing = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None

    prompt: (
        Utf8
        | Annotated[list[Utf8], AT_LEAST_1]
        | Annotated[list[TokenId], AT_LEAST_1]
        | Annotated[list[Annotated[list[TokenId], AT_LEAST_1]], AT_LEAST_1]
    )
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None

    @property
    def scores_prompt(self) -> bool:
        """With `echo`, `logprobs` are the prompt's, too."""
        return bool(self.echo) and self.logprobs is not None

    @property
    def prompts(self) -> list[str | list[int]]:
        """Every prompt, as text or as token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [list(self.prompt)]
        return list(self.prompt)

    @property
    def token_limit(self) -> int | None:
        """OpenAI's default is 16."""
        return 16 if self.max_tokens is None else self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """`logprobs` itself."""
        return self.logprobs


class ChatRequest(Asked, Calling):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], AT_LEAST_1]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    chat_template_kwargs: Annotated[
        dict[str, Any] | None, Field(description="Variables of the chat template.")
    ] = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None

    @property
    def rendering(self) -> dict[str, Any]:
        """How the conversation becomes a prompt, as `CheckpointTokenizer.encode_chat` takes it.

        Raises:
            DynexitError: fields that contradict each other.
        """
        if self.continue_final_message and self.add_generation_prompt:
            raise DynexitError(
                "continue_final_message and add_generation_prompt exclude each other: set only one."
            )
        if self.calls and self.constraint is not None:
            raise DynexitError("a constraint and tools cannot be combined: leave one of them out.")
        begins = self.add_generation_prompt
        return {
            "tools": self.as_template_input,
            "add_generation_prompt": not self.continue_final_message if begins is None else begins,
            "continue_final_message": bool(self.continue_final_message),
            "settings": self.chat_template_kwargs,
        }

    @property
    def token_limit(self) -> int | None:
        """The newer field comes first."""
        newer = self.max_completion_tokens
        return self.max_tokens if newer is None else newer

    @property
    def alternatives(self) -> int | None:
        """`top_logprobs`, which need `logprobs`."""
        if self.top_logprobs is not None and not self.logprobs:
            raise DynexitError("top_logprobs needs logprobs to be true.")
        return (self.top_logprobs or 0) if self.logprobs else None


class LayersRequest(Strict):
    """POST /dynexit/layers: a text, and which of its tokens to look at."""

    tokens: Annotated[
        list[TokenId], Field(min_length=2, fail_fast=True, description="Prompt and text.")
    ]
    start: Annotated[int, Field(ge=1, description="The first token to look at.")]
    count: Annotated[int, Field(ge=1, le=64, description="How many from there.")] = 1
