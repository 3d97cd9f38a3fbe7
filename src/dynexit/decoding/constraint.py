"""Constraints on a text: JSON, a regular expression, one of several texts, or a grammar.

Not responsible for compiling them (`grammars.py`) or following them along a text (`guide.py`), so
that a command can check one before a model loads.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dynexit.errors import DynexitError

Kind = Literal["json", "regex", "choice", "grammar", "tools"]
KINDS: dict[Kind, str] = {
    "json": "the JSON schema",
    "regex": "the regular expression",
    "choice": "the choice",
    "grammar": "the grammar",
    "tools": "a tool's parameters",
}
# Space in JSON stands where Python's `json.dumps` puts it, so that much of a text is certain.
LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


@dataclass(frozen=True)
class Constraint:
    """A constraint that a text must satisfy. Made by `json`, `regex`, `choice` or `grammar`.
    Kind "tools" is a Lark grammar.

    Only a model's tokenizer shows whether it can be followed.
    """

    kind: Kind
    source: str

    @classmethod
    def json(cls, schema: "Mapping[str, Any] | str | bool | None" = None) -> "Constraint":
        """A JSON value that fits a schema; any object without one.

        Args:
            schema: JSON schema, as an object or as its JSON.

        Raises:
            DynexitError: it is not JSON.
        """
        if schema is None:
            schema = {"type": "object"}
        try:
            given = json.loads(schema) if isinstance(schema, str) else schema
            source = json.dumps(given)
        except (ValueError, TypeError, RecursionError) as error:
            raise DynexitError(f"the JSON schema is not JSON: {first_line(error)}.") from error
        if not isinstance(given, Mapping | bool):
            raise DynexitError("the JSON schema is not a JSON object: give {...}.")
        return cls("json", source)

    @classmethod
    def regex(cls, pattern: str) -> "Constraint":
        """What a regular expression matches as a whole; its syntax is that of Rust's `regex`."""
        return cls("regex", _text(pattern, "regex"))

    @classmethod
    def choice(cls, texts: Sequence[str]) -> "Constraint":
        """One of these texts.

        Raises:
            DynexitError: there is no text, or one is not a string.
        """
        if isinstance(texts, str) or not texts:
            raise DynexitError("the choice is empty: give a list of at least one text.")
        return cls("choice", json.dumps([_text(text, "choice") for text in texts]))

    @classmethod
    def grammar(cls, text: str) -> "Constraint":
        """What a grammar derives from `start` (Lark) or `root` (GBNF, as llama.cpp has it)."""
        return cls("grammar", _text(text, "grammar"))


def _text(value: object, kind: Kind) -> str:
    if not isinstance(value, str):
        raise DynexitError(f"{KINDS[kind]} is {str(value)[:40]!r}: give text.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DynexitError(f"{KINDS[kind]} is not UTF-8 text.") from error
    return value


def first_line(error: object) -> str:
    """What a library says, in one line: of a report, the line that names the error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (*named, *lines, "it gives no reason")[0].rstrip(".:")[:300]
