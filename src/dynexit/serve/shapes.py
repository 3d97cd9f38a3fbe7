"""Fields of requests that constrain a text (structured output): OpenAI's and vLLM's."""

from typing import Annotated, Any, Literal

from pydantic import Field

from dynexit.decoding.constraint import Constraint
from dynexit.errors import DynexitError
from dynexit.serve.fields import AT_LEAST_1, Strict, Utf8

Schema = dict[str, Any] | bool


class PlainText(Strict):
    """A reply without a shape."""

    type: Literal["text"]


class JsonObject(Strict):
    """Any JSON object."""

    type: Literal["json_object"]


class NamedSchema(Strict):
    """JSON schema with a name; the text fits it whether `strict` or not."""

    name: Utf8
    description: Utf8 | None = None
    own_schema: Annotated[Schema, Field(alias="schema")]
    strict: bool | None = None


class JsonSchema(Strict):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[PlainText | JsonObject | JsonSchema, Field(discriminator="type")]


class Shaped(Strict):
    """At most one of these fields gives the text a shape."""

    response_format: ResponseFormat | None = None
    guided_json: Schema | Utf8 | None = None
    guided_regex: Utf8 | None = None
    guided_choice: Annotated[list[Utf8], AT_LEAST_1] | None = None
    guided_grammar: Utf8 | None = None

    @property
    def constraint(self) -> Constraint | None:
        """What the text must look like; None where it may be any.

        Raises:
            DynexitError: fields that contradict each other, or what is no JSON.
        """
        given = {
            name: value
            for name in Shaped.model_fields
            if (value := getattr(self, name)) is not None and not isinstance(value, PlainText)
        }
        if len(given) > 1:
            raise DynexitError(f"{' and '.join(given)} both constrain the text: set only one.")
        return next((_constraint(name, value) for name, value in given.items()), None)


def _constraint(name: str, value: Any) -> Constraint:
    if name == "guided_regex":
        return Constraint.regex(value)
    if name == "guided_choice":
        return Constraint.choice(value)
    if name == "guided_grammar":
        return Constraint.grammar(value)
    if isinstance(value, JsonSchema):
        return Constraint.json(value.json_schema.own_schema)
    return Constraint.json(None if isinstance(value, JsonObject) else value)
