"""Prompts to make a model write: from families of templates (`prompts.yaml`) or from a user.

Not responsible for chat templates, nor for the order in which prompts come.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import yaml

from dynexit.errors import DynexitError, reason
from dynexit.plain import parse_json

FILE = Path(__file__).with_name("prompts.yaml")
OWN, JUDGES = "own", "judges"  # the families of a user's prompts: to learn from, or to judge by
HELD_OUT = 10  # one prompt in so many is never learned from
PLAIN = 0.25  # share of prompts that a chat model continues as they stand
SOURCE = 600  # characters of a text that is to be rewritten
FIELD = re.compile(r"\{(?:(\d+)-(\d+)|(\w+))\}")


@dataclass(frozen=True)
class Prompt:
    """One prompt of a family.

    Attributes:
        chat: it is a message, to be put through the model's chat template.
    """

    family: str
    number: int
    text: str
    chat: bool

    @property
    def held_out(self) -> bool:
        """Whether its texts judge what was learned of others."""
        return is_held_out(self.number)


def is_held_out(number: int) -> bool:
    """Whether a family's prompt of this number is."""
    return number % HELD_OUT == HELD_OUT - 1


def families() -> tuple[str, ...]:
    """Names of the built-in ones."""
    return tuple(_book()["families"])


def in_turn(only: Sequence[str] = ()) -> Iterator[str]:
    """Families in the order in which they are asked, round after round: all, or some.

    Raises:
        DynexitError: there is no such family.
    """
    known = _book()["families"]
    if unknown := [name for name in only if name not in known]:
        raise DynexitError(f"family {unknown[0]!r} is not known: use {', '.join(known)}.")
    turns = {name: known[name].get("turns", 1) for name in only or known}
    for turn in range(max(turns.values())):
        yield from (name for name, most in turns.items() if turn < most)


def rewrites(family: str) -> bool:
    """Whether a family's prompts quote texts that the model wrote before."""
    templates = _book()["families"][family]
    return all("{text}" in one for one in (*templates["chat"], *templates["plain"]))


def make_prompt(family: str, number: int, chat: bool, sources: Sequence[str] = ()) -> Prompt:
    """The prompt of this number, the same at any time.

    Args:
        chat: the model has a chat template: most prompts are messages.
        sources: texts to quote from, at least one where the family `rewrites`.
    """
    random = Random(f"{family}/{number}")
    chat = chat and random.random() >= PLAIN
    template = random.choice(_book()["families"][family]["chat" if chat else "plain"])
    source = _cut(random.choice(sources)) if sources else ""
    return Prompt(family, number, _filled(template, random, source), chat)


def read_prompts(file: Path, chat: bool, judges: bool = False) -> list[Prompt]:
    """A user's prompts: one a line, or as objects of JSON with `prompt`.

    Args:
        judges: all of them are held out.

    Raises:
        DynexitError: the file cannot be read, holds none, or a line is no such object.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DynexitError(f"{file} cannot be read: {reason(error)}.") from error
    told = [(place, line) for place, line in enumerate(lines, 1) if line.strip()]
    texts = dict.fromkeys(_own(line, f"{file}, line {place}") for place, line in told)
    if not texts:
        raise DynexitError(f"{file} holds no prompts: write one a line.")
    family = JUDGES if judges else OWN
    return [Prompt(family, _number(text, judges), text, chat) for text in texts]


def _number(text: str, judges: bool) -> int:
    """A user's prompt is known by its text, whatever other prompts are beside it."""
    number = crc32(text.encode())
    return number * HELD_OUT + HELD_OUT - 1 if judges else number


def _own(line: str, where: str) -> str:
    if not line.lstrip().startswith("{"):
        return line
    value = parse_json(line, where)
    text = value.get("prompt")
    if not isinstance(text, str) or not text:
        raise DynexitError(f"{where} has no text under 'prompt'.")
    return text


@cache
def _book() -> dict[str, Any]:
    book: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return book


def _filled(template: str, random: Random, source: str) -> str:
    """A template whose names have values, and these values' names, too."""

    def value(found: re.Match[str]) -> str:
        low, high, name = found.groups()
        if name is None:
            return str(random.randint(int(low), int(high)))
        if name == "text":
            return source
        chosen = _filled(random.choice(_book()["lists"][name.lower()]), random, source)
        return chosen if name.islower() else chosen[:1].upper() + chosen[1:]

    return FIELD.sub(value, template)


def _cut(text: str) -> str:
    """A text's beginning, up to the end of a sentence where there is one."""
    start = text.strip()[:SOURCE]
    end = max(start.rfind(mark) for mark in (". ", ".\n", "? ", "! "))
    return start[: end + 1] if end > SOURCE // 4 else start
