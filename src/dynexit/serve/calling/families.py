"""How chat templates write tool calls. A template's content tells its family."""

import json
from dataclasses import dataclass
from typing import Any

from dynexit.decoding.constraint import LAYOUT, Constraint
from dynexit.errors import DynexitError


@dataclass(frozen=True)
class Family:
    """A call is a JSON object of `name` and arguments.

    Attributes:
        sign: what stands before calls; in a checkpoint it may be a special token.
        after: what ends each call.
        between: what stands between calls.
        opening, closing: around all of them.
        key: what a call names its arguments.
        bare: the sign may be left out where the text begins with a call.
        each: every call has its own sign, and text may follow.
        id_length: letters of a call's id that templates insist on.
    """

    sign: str
    after: str = ""
    between: str = ""
    opening: str = ""
    closing: str = ""
    key: str = "arguments"
    bare: bool = False
    each: bool = False
    id_length: int = 24


HERMES = Family("<tool_call>", "\n</tool_call>", "\n", "\n", "", each=True)
LLAMA = Family("<|python_tag|>", between="; ", key="parameters", bare=True)
MISTRAL = Family("[TOOL_CALLS]", between=", ", opening=" [", closing="]", id_length=9)


def family_of(template: str | None) -> Family:
    """The family of a chat template.

    Raises:
        DynexitError: it knows no tools, or writes calls in a way that is not read here.
    """
    if template is None or "tools" not in template:
        raise DynexitError(
            "this checkpoint's chat template does not support tools: leave out tools and "
            "tool_choice."
        )
    if "<tool_call>" in template and "<function=" not in template:
        return HERMES
    if "[TOOL_CALLS]" in template and "[ARGS]" not in template:
        return MISTRAL
    if "<|python_tag|>" in template or ("<|eot_id|>" in template and '"parameters"' in template):
        return LLAMA
    raise DynexitError(
        "this checkpoint's chat template writes tool calls in an unsupported format: supported are "
        "Hermes and Qwen, Llama 3, and Mistral in JSON."
    )


def constraint_of(
    family: Family, functions: dict[str, Any], several: bool, sign_id: int | None
) -> Constraint:
    """Calls of these functions, one at least, and nothing else.

    Args:
        functions: the schema of its parameters, by a function's name.
        several: whether there may be more than one call.
        sign_id: the token of the family's sign, where that is a special one.
    """
    sign = json.dumps(family.sign) if sign_id is None else f"<[{sign_id}]>"
    opening = f"{'' if family.bare else sign} {_literal(family.opening)}"
    between = f"{_literal(family.between)} {opening if family.each else ''}"
    more = f"({between} call)*" if several else ""
    named = [f"call_{index}" for index in range(len(functions))]
    rules = [
        f"start: {opening} call {more} {_literal(family.closing)}",
        f"call: {' | '.join(named)}",
    ]
    for rule, (name, schema) in zip(named, functions.items(), strict=True):
        begin = _literal(f'{{"name": {json.dumps(name)}, "{family.key}": ')
        rules.append(f"{rule}: {begin} %json {_laid_out(schema)} {_literal('}' + family.after)}")
    return Constraint("tools", "\n".join(rules))


def _literal(text: str) -> str:
    """A text as a Lark literal; an empty text gives nothing."""
    return json.dumps(text) if text else ""


def _laid_out(schema: Any) -> str:
    if isinstance(schema, dict):
        schema = {"x-guidance": LAYOUT, **schema}
    return json.dumps(schema)
