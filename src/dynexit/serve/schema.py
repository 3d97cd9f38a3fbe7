"""What clients may ask: OpenAI's fields, as many as are served, and a few of ours.

A field that is not here is refused by name, and so is one whose value asks for what is not served.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dynexit.errors import DynexitError


def _unicode(text: str) -> str:
    """JSON can spell half a character, which is no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is not a character") from None
    return text


Utf8 = Annotated[str, AfterValidator(_unicode)]
AT_LEAST_1 = Field(min_length=1, fail_fast=True)  # a fault is told once, not for every item
TokenId = Annotated[int, Field(ge=0)]
Stop = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_unicode)]


class Strict(BaseModel):
    """Nothing that is not listed; numbers are not read out of text."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class StreamOptions(Strict):
    """How a stream is sent."""

    include_usage: bool = False


class OwnOptions(Strict):
    """What only this server has."""

    method: Annotated[
        Utf8 | None,
        Field(max_length=200, description="Such as `layerskip:exit_layer=3,speculation_length=3`."),
    ] = None
    trace: Annotated[bool, Field(description="Tell of every round in a stream.")] = False
    deadline_seconds: Annotated[
        float | None, Field(ge=0.01, description="Give up earlier than the server would.")
    ] = None


class Asked(Strict):
    """What both kinds of request have in common."""

    model: Utf8
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1)] = 1
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    user: Annotated[Utf8 | None, Field(description="Ignored.")] = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    dynexit: OwnOptions = OwnOptions()

    @property
    def stops(self) -> list[str]:
        """Stop strings."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of counts."""
        return self.stream_options is not None and self.stream_options.include_usage

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

    prompt: (
        Utf8
        | Annotated[list[Utf8], AT_LEAST_1]
        | Annotated[list[TokenId], AT_LEAST_1]
        | Annotated[list[Annotated[list[TokenId], AT_LEAST_1]], AT_LEAST_1]
    )
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None

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


class ContentPart(Strict):
    """A piece of a message."""

    type: Literal["text"]
    text: Utf8


class Message(Strict):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Utf8 | Annotated[list[ContentPart], AT_LEAST_1]
    name: Utf8 | None = None

    @property
    def as_template_input(self) -> dict[str, str]:
        """As chat templates know it."""
        parts = [self.content] if isinstance(self.content, str) else [p.text for p in self.content]
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": "".join(parts)}


class ChatRequest(Asked):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], AT_LEAST_1]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

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
