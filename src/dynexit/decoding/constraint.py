"""What a text must look like: JSON, a regular expression, one of several texts, or a grammar.

Not responsible for following it along a text (`guide.py`). Masks are made by `llguidance`, an
optional package that is imported where a constraint is compiled, and nowhere else.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from tokenizers import Tokenizer

from dynexit.decoding.guide import Guide
from dynexit.errors import DynexitError

if TYPE_CHECKING:
    from llguidance import LLTokenizer

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
COMPILED = 64  # constraints that are kept, each for the texts that ask for it again


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
            raise DynexitError(f"the JSON schema is no JSON: {_line(error)}.") from error
        if not isinstance(given, Mapping | bool):
            raise DynexitError("the JSON schema is no JSON object: give {...}.")
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
            raise DynexitError("the choice is empty: give a list of one text at least.")
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


class Grammars:
    """Compiles constraints for one tokenizer, and keeps those that were asked for last.

    Args:
        eos: tokens that end a text, where its grammar allows that.
    """

    def __init__(self, tokenizer: Tokenizer, eos: frozenset[int]) -> None:
        self._backend, self._eos, self._making = tokenizer, eos, Lock()
        self._tokens: LLTokenizer | None = None
        self._compiled = lru_cache(maxsize=COMPILED)(self._compile)

    def guide(self, constraint: Constraint, ends: frozenset[int], vocabulary: int) -> Guide:
        """What leads one text, at its beginning.

        Args:
            ends: tokens that end this text.
            vocabulary: tokens that are chosen from.

        Raises:
            DynexitError: llguidance is missing or cannot read the constraint or the tokenizer.
        """
        if not isinstance(constraint, Constraint):
            raise DynexitError(
                "constraint is no dynexit.Constraint: make one, such as Constraint.json(schema)."
            )
        with self._making:
            matcher = self._compiled(constraint)
            assert self._tokens is not None
            return Guide(matcher, self._tokens, ends, vocabulary)

    def _compile(self, constraint: Constraint) -> Any:
        llguidance = _imported()
        if self._tokens is None:
            self._tokens = _tokens_of(llguidance, self._backend, self._eos)
        what = KINDS[constraint.kind]
        try:
            grammar = _grammar_of(llguidance, constraint)
            matcher = llguidance.LLMatcher(self._tokens, grammar, log_level=0)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the library is no `Exception`
            raise DynexitError(f"{what} cannot be followed: {_line(error)}.") from error
        if matcher.is_error():
            raise DynexitError(f"{what} cannot be followed: {_line(matcher.get_error())}.")
        return matcher


def _imported() -> Any:
    try:
        import llguidance
    except ImportError as error:
        raise DynexitError(
            "a constraint needs llguidance: install dynexit with the extra `constraints`."
        ) from error
    return llguidance


def _tokens_of(llguidance: Any, backend: Tokenizer, eos: frozenset[int]) -> "LLTokenizer":
    plain = Tokenizer.from_str(backend.to_str())
    plain.no_padding()
    plain.no_truncation()
    try:
        return llguidance.LLTokenizer(plain.to_str(), eos_token=sorted(eos) or None)
    except (ValueError, RuntimeError) as error:
        raise DynexitError(
            f"this checkpoint's tokenizer cannot be held to a constraint: {_line(error)}."
        ) from error


def _grammar_of(llguidance: Any, constraint: Constraint) -> str:
    matcher, source = llguidance.LLMatcher, constraint.source
    readers: dict[Kind, Callable[[], str]] = {
        "json": lambda: matcher.grammar_from_json_schema(source, defaults=LAYOUT),
        "regex": lambda: matcher.grammar_from_regex(source),
        "choice": lambda: llguidance.grammar_from("choice", source),
        "grammar": lambda: llguidance.grammar_from("grammar", source),
        "tools": lambda: matcher.grammar_from_lark(source),
    }
    return readers[constraint.kind]()


def _line(error: object) -> str:
    """What a library says, in one line: of a report, the line that names the error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (*named, *lines, "it gives no reason")[0].rstrip(".:")[:300]
