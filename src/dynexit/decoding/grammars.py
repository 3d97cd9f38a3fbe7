"""Compiles constraints for a tokenizer. Masks are made by `llguidance`, an optional package that is
imported where a constraint is compiled, and nowhere else.
"""

from collections.abc import Callable
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from dynexit.decoding.constraint import KINDS, LAYOUT, Constraint, Kind, first_line
from dynexit.decoding.guide import Guide
from dynexit.errors import DynexitError

if TYPE_CHECKING:
    from llguidance import LLTokenizer

COMPILED = 64  # constraints that are kept, each for the texts that ask for it again


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
        """Make the guide of one new text.

        Args:
            ends: tokens that end this text.
            vocabulary: tokens that are chosen from.

        Raises:
            DynexitError: llguidance is missing or cannot read the constraint or the tokenizer.
        """
        if not isinstance(constraint, Constraint):
            raise DynexitError(
                "constraint must be a dynexit.Constraint, such as Constraint.json(schema)."
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
            raise DynexitError(f"{what} cannot be followed: {first_line(error)}.") from error
        if matcher.is_error():
            raise DynexitError(f"{what} cannot be followed: {first_line(matcher.get_error())}.")
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
            f"this checkpoint's tokenizer does not support constraints: {first_line(error)}."
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
