"""Finds tool calls in a text while it is written: plain text, and each call's arguments in pieces.

What turns out not to be a call is plain text.
"""

import json
import re
import secrets
import string
from collections.abc import Iterator
from dataclasses import dataclass

from dynexit.serve.calling.families import Family

LETTERS = string.ascii_letters + string.digits
HEADER = re.compile(
    r'\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
)


@dataclass(frozen=True)
class Said:
    """Text that belongs to no call."""

    text: str


@dataclass(frozen=True)
class Began:
    """A call begins."""

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class Argued:
    """More of a call's arguments, as they were written."""

    index: int
    text: str


Piece = Said | Began | Argued


class JsonSpan:
    """Finds the end of a JSON object that arrives in pieces."""

    def __init__(self) -> None:
        self._depth, self._quoted, self._escaped = 0, False, False

    def feed(self, text: str) -> int | None:
        """How many characters of `text` still belong to it, where it ends there."""
        for at, letter in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                self._quoted, self._escaped = letter != '"', letter == "\\"
            elif letter == '"':
                self._quoted = True
            elif letter in "{[":
                self._depth += 1
            elif letter in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return at + 1
        return None


class CallReader:
    """Reads one text.

    Args:
        one: whether the first call is the only one that counts.
    """

    def __init__(self, family: Family, one: bool = False) -> None:
        self._family, self._one = family, one
        self._held, self._calling, self._spoken = "", False, False
        self._object: _Call | None = None
        self.count = 0  # of calls

    def feed(self, text: str) -> list[Piece]:
        """Take more of the text; returns what has become certain."""
        self._held += text
        return list(self._read())

    def end(self) -> list[Piece]:
        """Return what was held back when the text ends."""
        call = self._object
        rest = call.unread if call is not None and not call.begun else ""
        rest, self._held, self._object = rest + self._held, "", None
        if (self._calling or self.count) and not rest.strip(" \n\t;,[]"):
            return []
        return [Said(rest)] if rest else []

    def _read(self) -> Iterator[Piece]:
        moved = True
        while moved and self._held:
            before = len(self._held), self._calling, self._object
            if self._object is not None:
                yield from self._in_call()
            elif self._calling:
                yield from self._between_calls()
            else:
                yield from self._in_text()
            moved = before != (len(self._held), self._calling, self._object)

    def _in_text(self) -> Iterator[Piece]:
        sign, stripped = self._family.sign, self._held.lstrip()
        if self._family.bare and not self._spoken:
            if not stripped or (sign.startswith(stripped) and stripped != sign):
                return  # it may become one
            if stripped.startswith("{"):
                self._held, self._calling = stripped, True
                return
        at = self._held.find(sign)
        if at >= 0:
            said, self._held = self._held[:at], self._held[at + len(sign) :]
            self._calling = True
            if said.strip():
                yield self._say(said)
            return
        sure = len(self._held) - _overlap(self._held, sign)
        said = self._held[:sure]
        if said.strip() or (said and self._spoken):  # space before a call is no text
            self._held = self._held[sure:]
            yield self._say(said)

    def _say(self, text: str) -> Said:
        self._spoken = True
        return Said(text)

    def _between_calls(self) -> Iterator[Piece]:
        """After a sign, or after a call."""
        self._held = self._held.lstrip(" \n\t;,[]")
        after = self._family.after.strip()
        if not self._held or (after and after != self._held and after.startswith(self._held)):
            return
        if after and self._held.startswith(after):
            self._held, self._calling = self._held[len(after) :], False
            self._spoken = False  # space after a call is no text, either
        elif self._held.startswith("{"):
            self._object = _Call(self.count, self._family.id_length)
        else:
            yield self._say(self._held)
            self._held, self._calling = "", False

    def _in_call(self) -> Iterator[Piece]:
        call = self._object
        assert call is not None
        pieces, self._held = call.feed(self._held)
        told = [] if self._one and call.index > 0 else pieces
        yield from told
        if call.over:
            self._object = None
            self.count += call.begun
            if not call.begun:
                yield self._say(call.unread)


class _Call:
    """One call's object.

    Attributes:
        begun: whether its name is known.
        over: whether it has ended.
        unread: what is there of it while its name is not known.
    """

    def __init__(self, index: int, id_length: int) -> None:
        self.index, self.begun, self.over, self.unread = index, False, False, ""
        self._id = "".join(secrets.choice(LETTERS) for _ in range(id_length))
        self._id = self._id if id_length < 24 else f"call_{self._id}"
        self._whole, self._arguments = JsonSpan(), JsonSpan()
        self._argued = False  # all of the arguments

    def feed(self, text: str) -> tuple[list[Piece], str]:
        """Take more of the text; returns pieces and what does not belong to the call."""
        stop = self._whole.feed(text)
        own, rest = (text, "") if stop is None else (text[:stop], text[stop:])
        self.over = stop is not None
        if self.begun:
            return self._argue(own), rest
        self.unread += own
        if (found := HEADER.match(self.unread)) is not None:
            began = self._begin(_name(found[1]))
            return [began, *self._argue(self.unread[found.end() :])], rest
        return (self._whole_call() if self.over else []), rest

    def _begin(self, name: str) -> Began:
        self.begun = True
        return Began(self.index, self._id, name)

    def _argue(self, text: str) -> list[Piece]:
        if self._argued:
            return []
        stop = self._arguments.feed(text)
        self._argued = stop is not None
        text = text if stop is None else text[:stop]
        return [Argued(self.index, text)] if text else []

    def _whole_call(self) -> list[Piece]:
        """A call whose name does not come first, or whose arguments are no object, or not there."""
        try:
            call = json.loads(self.unread)
        except (ValueError, RecursionError):
            return []
        name = call.get("name")
        arguments = call.get("arguments", call.get("parameters"))
        if not isinstance(name, str):
            return []
        if not isinstance(arguments, str):
            arguments = json.dumps({} if arguments is None else arguments)
        return [self._begin(name), Argued(self.index, arguments)]


def _name(quoted: str) -> str:
    try:
        name: str = json.loads(quoted)
    except ValueError:
        name = quoted[1:-1]
    return name


def _overlap(text: str, sign: str) -> int:
    """Length of the longest end of `text` that `sign` begins with."""
    longest = min(len(text), len(sign) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(sign[:n])), 0)
