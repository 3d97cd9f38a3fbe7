"""What a text must look like: JSON, a regular expression, one of several texts, or a grammar.

Not responsible for compiling it (`grammars.py`) or following it along a text (`guide.py`), so that
a command can look at one before anything is loaded.
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
    """A shape that every text under it has, made by `json`, `regex`, `choice` or `grammar`.
    Of kind "tools" is a grammar in Lark alone.

    Whether it can be followed is known once it meets a model's tokenizer.
    """

    kind: Kind
    source: str

    @classmethod
    def json(cls, schema: "Mapping[str, Any] | str | bool | None" = None) -> "Constraint":
        """A JSON value that fits a schema; any object without one.

        Args:
            schema: JSON schema, as an object or as its JSON.

        Raises:
            DynexitError: it is no JSON.
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
            DynexitError: there is none, or what is there is no text.
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
