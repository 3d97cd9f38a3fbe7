"""Fields of a chat that ask for tool calls."""

from typing import Annotated, Any, Literal

from pydantic import Field

from dynexit.errors import DynexitError
from dynexit.serve.fields import Strict, Utf8

FunctionName = Annotated[str, Field(pattern="^[a-zA-Z0-9_.-]{1,64}$")]
NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


class Function(Strict):
    """What may be called, and with what."""

    name: FunctionName
    description: Utf8 | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Strict):
    """A function."""

    type: Literal["function"]
    function: Function


class FunctionChoice(Strict):
    """One function, by name."""

    name: FunctionName


class NamedTool(Strict):
    """The tool that must be called."""

    type: Literal["function"]
    function: FunctionChoice


class Calling(Strict):
    """Which tools there are, and whether they must be called."""

    tools: Annotated[list[Tool] | None, Field(max_length=128)] = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None

    @property
    def calls(self) -> bool:
        """Whether tools may be called."""
        return bool(self.tools) and self.tool_choice != "none"

    @property
    def one_call(self) -> bool:
        """Whether a second call is too many."""
        return self.parallel_tool_calls is False or isinstance(self.tool_choice, NamedTool)

    @property
    def as_template_input(self) -> list[dict[str, Any]] | None:
        """Tools as chat templates know them; None where no template is to know of any."""
        if not self.calls:
            return None
        return [
            tool.model_dump(exclude_none=True, exclude={"function": {"strict"}})
            for tool in self.tools or []
        ]

    @property
    def must_call(self) -> dict[str, Any]:
        """Schemas of the parameters of functions one of which must be called, by name.

        Raises:
            DynexitError: a choice that no tool is there for.
        """
        tools = {tool.function.name: tool.function for tool in self.tools or []}
        choice = self.tool_choice
        if choice in (None, "none", "auto"):
            return {}
        if len(tools) < len(self.tools or []):
            raise DynexitError("two tools have the same name: rename one.")
        if isinstance(choice, NamedTool):
            name = choice.function.name
            if name not in tools:
                raise DynexitError(f"tool_choice names {name!r}, which is not among the tools.")
            tools = {name: tools[name]}
        if not tools:
            raise DynexitError("tool_choice is 'required', but there are no tools: add tools.")
        return {
            name: NO_PARAMETERS if one.parameters is None else one.parameters
            for name, one in tools.items()
        }
