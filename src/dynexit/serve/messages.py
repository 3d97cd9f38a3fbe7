"""Turns of a conversation, as OpenAI's clients send them and as chat templates know them."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from dynexit.serve.fields import AT_LEAST_1, Strict, Utf8


class TextPart(Strict):
    """A piece of a message."""

    type: Literal["text"]
    text: Utf8


class RefusalPart(Strict):
    """A piece of an assistant's message, which is text as well."""

    type: Literal["refusal"]
    refusal: Utf8


class Called(Strict):
    """What an assistant's turn called; `arguments` is JSON."""

    name: Utf8
    arguments: Utf8


class ToolCall(Strict):
    """A call in an assistant's turn."""

    id: Utf8 | None = None
    type: Literal["function"] = "function"
    function: Called
    index: int | None = None

    @property
    def as_template_input(self) -> dict[str, Any]:
        """With arguments that are an object, as templates expect them, where they are one."""
        try:
            arguments = json.loads(self.function.arguments)
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict):
            arguments = self.function.arguments
        called = {"name": self.function.name, "arguments": arguments}
        named = {} if self.id is None else {"id": self.id}
        return {**named, "type": self.type, "function": called}


class Message(Strict):
    """One turn of a conversation: whatever a reply's message holds may come back."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Utf8 | Annotated[list[TextPart | RefusalPart], AT_LEAST_1] | None = None
    name: Utf8 | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: Utf8 | None = None
    reasoning_content: Utf8 | None = None
    refusal: Utf8 | None = None
    annotations: Annotated[list[Any] | None, Field(description="Ignored.")] = None
    audio: None = None
    function_call: None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.content is None and self.role != "assistant":
            raise ValueError(f"the content of a {self.role} message is missing")
        if self.role == "tool" and self.tool_call_id is None:
            raise ValueError("a tool message needs tool_call_id")
        return self

    @property
    def _text(self) -> str:
        if self.content is None:
            return self.refusal or ""
        if isinstance(self.content, str):
            return self.content
        return "".join(p.text if isinstance(p, TextPart) else p.refusal for p in self.content)

    @property
    def as_template_input(self) -> dict[str, Any]:
        """As chat templates know it; nothing that is not there is null, which some would print."""
        role = "system" if self.role == "developer" else self.role
        more: dict[str, Any] = {
            "name": self.name,
            "tool_call_id": self.tool_call_id,
            "reasoning_content": self.reasoning_content,
            "tool_calls": [call.as_template_input for call in self.tool_calls or []],
        }
        return {"role": role, "content": self._text, **{k: v for k, v in more.items() if v}}
