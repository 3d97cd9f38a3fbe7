"""The texts that a model has written so far: appended to a file, safe to be continued."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynexit.errors import DynexitError
from dynexit.learning.prompts import is_held_out
from dynexit.learning.writing import KEPT
from dynexit.model.files import Lines, make_folder
from dynexit.plain import build, parse_json

Key = tuple[str, int, float]


@dataclass(frozen=True)
class Text:
    """A text of a prompt, and what the model thought likely at its positions.

    Attributes:
        tokens: prompt and text.
        prompt_length: tokens of the prompt.
        first: the position of the first token after which something is likely.
        likely, chances: [n, KEPT] each, as base64: uint32 tokens and float16 probabilities.
    """

    family: str
    number: int
    temperature: float
    prompt_length: int
    tokens: tuple[int, ...]
    first: int
    likely: str
    chances: str

    @property
    def key(self) -> Key:
        """What no two texts have in common."""
        return self.family, self.number, self.temperature

    @property
    def held_out(self) -> bool:
        """Whether it judges what was learned of others."""
        return is_held_out(self.number)

    @property
    def new_tokens(self) -> tuple[int, ...]:
        """What the model wrote."""
        return self.tokens[self.prompt_length :]

    @property
    def is_whole(self) -> bool:
        """Whether something is likely after each token but the last, from `first` on."""
        count = len(self.tokens) - 1 - self.first
        sizes = [(count * KEPT * size + 2) // 3 * 4 for size in (4, 2)]  # in base64
        ordered = 0 <= self.first < self.prompt_length < len(self.tokens)
        return ordered and [len(self.likely), len(self.chances)] == sizes

    @property
    def read(self) -> tuple[NDArray[np.uint32], NDArray[np.float16]]:
        """Likely tokens and their probabilities, [n, KEPT] each."""
        likely = np.frombuffer(base64.b64decode(self.likely), np.uint32).reshape(-1, KEPT)
        chances = np.frombuffer(base64.b64decode(self.chances), np.float16).reshape(-1, KEPT)
        return likely, chances


def packed(numbers: NDArray[Any]) -> str:
    """An array as a journal holds it."""
    return base64.b64encode(numbers.tobytes()).decode()


class Journal:
    """Texts in one file, which no other process may write meanwhile.

    Args:
        heading: what all of it depends on. A file of another heading is not continued.

    Raises:
        DynexitError: the file cannot be written, is in use, damaged, or has another heading.
    """

    def __init__(self, path: Path, heading: dict[str, Any]) -> None:
        self.path = path
        make_folder(path.parent)
        self._lines = Lines(path)
        try:
            self.texts = {text.key: text for text in self._read(heading)}
        except DynexitError:
            self.close()
            raise

    def close(self) -> None:
        """Let others write."""
        self._lines.close()

    def append(self, text: Text) -> None:
        """Write a line; see `Lines.append`."""
        self._write(vars(text))
        self.texts[text.key] = text

    def _write(self, value: dict[str, Any]) -> None:
        self._lines.append(json.dumps(value) + "\n")

    def _read(self, heading: dict[str, Any]) -> Iterator[Text]:
        """What is there."""
        self._lines.cut()
        lines = self._lines.lines
        if not lines:
            self._write(heading)
            return
        found = parse_json(lines[0], f"{self.path}, line 1")
        for name, value in heading.items():
            theirs = found.get(name) if isinstance(found, dict) else None
            if theirs != value:
                raise DynexitError(
                    f"{self.path} was written with {name} {theirs!r}, not {value!r}: give the same "
                    "options to continue it, or another folder."
                )
        for place, line in enumerate(lines[1:], 2):
            where = f"{self.path}, line {place}"
            text = build(Text, parse_json(line, where), where)
            if not text.is_whole:
                raise DynexitError(f"{where} is damaged: delete that line.")
            yield text
