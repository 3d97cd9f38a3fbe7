"""Replies to clients, in OpenAI's shapes, with an additional `dynexit` object."""

from typing import Literal

from pydantic import BaseModel, Field

Ended = Literal["stop", "length", "tool_calls"]


def _is_none(value: object) -> bool:
    return value is None


class PromptDetails(BaseModel):
    """How many of the prompts' tokens had been read before."""

    cached_tokens: int


class Usage(BaseModel):
    """Tokens of all prompts and of all texts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class Counts(BaseModel):
    """How a reply was decoded, all its texts together; seconds are those of the slowest."""

    method: str
    lossless: bool
    seeds: list[int]
    rounds: int
    drafted: int
    accepted: int
    acceptance_rate: float
    mean_acceptance_length: float
    tokens_per_second: float
    prefill_seconds: float
    decode_seconds: float


class TracedToken(BaseModel):
    """A token of the text: `text` is what it made certain, `confidence` the exit's, if drafted."""

    id: int
    text: str
    source: str
    confidence: float | None = None


class RejectedToken(BaseModel):
    """A drafted token that is not in the text."""

    id: int
    text: str
    confidence: float | None = None


class Trace(BaseModel):
    """One round of one text; a prefill has no exit layer. `at` counts from the request."""

    round: int
    drafter: str | None
    exit_layer: int | None
    drafted: int
    accepted: int
    tokens: list[TracedToken]
    rejected: list[RejectedToken]
    draft_seconds: float
    verify_seconds: float
    control_seconds: float
    text_seconds: float
    at: float
    prompt_ids: list[int] | None = None  # with the prefill


class CompletionLogprobs(BaseModel):
    """Of a completion's tokens, one entry each; nothing foretells a prompt's first token."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(BaseModel):
    """A text, or in a stream what a round added to it."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: Ended | None = None


class Completion(BaseModel):
    """A reply of /v1/completions, whole or a chunk."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    dynexit: Counts | Trace | None = None


class TopLogprob(BaseModel):
    """A token that stood to choice; `bytes` is null where it is part of a character."""

    token: str
    logprob: float
    bytes: list[int] | None


class ChatLogprob(TopLogprob):
    """A token that was chosen."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    """Of a message's tokens."""

    content: list[ChatLogprob]
    refusal: None = None


class MessageCalled(BaseModel):
    """A function that is called; `arguments` is JSON."""

    name: str
    arguments: str


class MessageCall(BaseModel):
    """A tool call in a message."""

    id: str
    type: Literal["function"] = "function"
    function: MessageCalled


class ChatMessage(BaseModel):
    """The assistant's turn; a turn of calls alone has no content."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: list[MessageCall] | None = None


class CalledDelta(BaseModel):
    """A function's name, once, and a piece of its arguments."""

    name: str | None = Field(default=None, exclude_if=_is_none)
    arguments: str


class CallDelta(BaseModel):
    """What a round added to a call; `id`, `type` and the name are there once, and never null."""

    index: int
    id: str | None = Field(default=None, exclude_if=_is_none)
    type: Literal["function"] | None = Field(default=None, exclude_if=_is_none)
    function: CalledDelta


class ChatDelta(BaseModel):
    """What a round added to it."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[CallDelta] | None = None


class ChatChoice(BaseModel):
    """A finished message."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: Ended


class ChatChunkChoice(BaseModel):
    """A piece of a message."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None = None
    finish_reason: Ended | None = None


class ChatCompletion(BaseModel):
    """A reply of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    dynexit: Counts


class ChatChunk(BaseModel):
    """A chunk of its stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    dynexit: Counts | Trace | None = None


class ModelCard(BaseModel):
    """The model that is served; what is not OpenAI's is for the page (`card.About`)."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["dynexit"] = "dynexit"
    num_layers: int
    max_positions: int
    method: str
    methods: list[str]
    chat: bool
    runtime: str
    parameters: int
    weight_bytes: int
    weights: str
    exit_layer: int | None
    exit_agreement: float | None


class ModelList(BaseModel):
    """All of them: one."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """Whether the engine runs."""

    status: Literal["ok", "stopping"]
    running: int
    waiting: int


class LayerPredictions(BaseModel):
    """For each token looked at, what layers 1..L predicted in its place, and how surely."""

    start: int
    texts: list[list[str]]
    confidences: list[list[float]]
