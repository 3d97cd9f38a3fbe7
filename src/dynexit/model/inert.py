"""Makes special tokens in messages inert, so that only those of the chat template are control
tokens.

A meaningless character is inserted into each special token's name in a message, so that the
tokenizer does not recognise it as special. A normaliser removes the character again before the text
is split into tokens: the model reads the name as ordinary text.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer

from dynexit.errors import DynexitError

BREAK = "\ufdd0"  # a noncharacter, which Unicode leaves to programs for uses such as this one
OWN_WORDS = ("role", "type")  # values that templates compare with words of their own


class InertText:
    """Breaks special tokens up, and encodes text in which they are."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self._special = {token: one.content for token, one in added.items() if one.special}
        names = set(self._special.values()) - {""}
        self._longest = max(map(len, names), default=0)
        self._ends = {name[at:] for name in names for at in range(1, len(name))}
        any_name = _any_of(names) if names else "(?!)"
        self._name = re.compile(any_name)
        self._after_first = re.compile(f"(?<=(?={any_name}).)", re.DOTALL)

    def broken(self, value: Any, own_words: Sequence[str] = OWN_WORDS) -> Any:
        """A message, or what is in one, with every special token broken up.

        Args:
            own_words: names of values that are left as they are.

        Raises:
            DynexitError: the character that breaks them up is in it.
        """
        if isinstance(value, str):
            if BREAK in value:
                raise DynexitError(
                    "a message holds U+FDD0, which is not a character: leave it out."
                )
            text = self._after_first.sub(BREAK, value)
            return BREAK + text if self._ends_a_name(text) else text
        if isinstance(value, Mapping):
            return {
                self.broken(name): one if name in own_words else self.broken(one, own_words)
                for name, one in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.broken(one, own_words) for one in value]
        return value

    def _ends_a_name(self, text: str) -> bool:
        """Whether a text begins as a name ends: what stands before it may begin as that does."""
        return any(text[:length] in self._ends for length in range(1, self._longest))

    def encode(self, rendered: str) -> list[int]:
        """Token ids of a conversation whose messages were broken up. Nothing is added to them.

        Where no message's text would have become a special token, they are the ids of the text.
        """
        plain = self._tokenizer.encode(rendered.replace(BREAK, ""), add_special_tokens=False)
        ids: list[int] = plain.ids
        if self._count(ids) <= len(self._name.findall(rendered)):
            return ids
        inert: list[int] = self._inert.encode(rendered, add_special_tokens=False).ids
        return inert

    def _count(self, ids: Sequence[int]) -> int:
        return sum(token in self._special for token in ids)

    @cached_property
    def _inert(self) -> Tokenizer:
        """A copy that looks for special tokens first, then takes out what breaks them up."""
        settings = json.loads(self._tokenizer.to_str())
        for token in settings["added_tokens"]:
            token["normalized"] = token["normalized"] and not token["special"]
        mend = {"type": "Replace", "pattern": {"String": BREAK}, "content": ""}
        steps = [mend, settings["normalizer"]] if settings["normalizer"] else [mend]
        settings["normalizer"] = {"type": "Sequence", "normalizers": steps}
        if settings["model"]["type"] == "Unigram":
            _make_unlikely(settings["model"]["vocab"], set(self._special.values()))
        return Tokenizer.from_str(json.dumps(settings))


def _any_of(names: set[str]) -> str:
    """A pattern of the longest of some names, which looks at each character of a text once."""
    after: dict[str, set[str]] = {}
    for name in names - {""}:
        after.setdefault(name[0], set()).add(name[1:])
    if not after:
        return ""
    branches = "|".join(re.escape(first) + _any_of(rest) for first, rest in sorted(after.items()))
    return f"(?:{branches})" + "?" * ("" in names)


def _make_unlikely(vocabulary: list[list[Any]], names: set[str]) -> None:
    """A unigram model finds special tokens in text, at no cost: let it take other pieces."""
    least = min(score for _, score in vocabulary)
    for entry in vocabulary:
        if entry[0] in names:
            entry[1] = least - 100.0
