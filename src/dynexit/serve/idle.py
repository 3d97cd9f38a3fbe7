"""OpenAI's fields for unsupported features, accepted with values that have no effect.

Clients often send them with their default values or null. Any other value is refused by name.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from dynexit.serve.fields import Strict, Utf8

Nothing = Annotated[list[Any], Field(max_length=0)] | None
NoNames = Annotated[dict[str, Any], Field(max_length=0)] | None
Ignored = Annotated[Utf8 | None, Field(description="Ignored.")]


class Idle(Strict):
    """Fields with the values that change nothing."""

    functions: Nothing = None
    function_call: Literal["none", "auto"] | None = None
    suffix: Literal[""] | None = None
    best_of: Literal[1] | None = None
    modalities: list[Literal["text"]] | None = None
    audio: None = None
    prediction: None = None
    web_search_options: None = None
    moderation: None = None
    store: Literal[False] | None = None
    metadata: Annotated[dict[str, str] | None, Field(description="Ignored.")] = None
    service_tier: Literal["auto", "default"] | None = None
    reasoning_effort: Literal["none"] | None = None
    verbosity: Literal["medium"] | None = None
    user: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    prompt_cache_options: NoNames = None


IDLE = frozenset(Idle.model_fields)
