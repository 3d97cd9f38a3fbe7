"""Text of a recipe's domains: documents, their held-out part, and an endless stream of windows."""

import csv
import fnmatch
import json
import operator
import random
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from dynexit.errors import DynexitError
from dynexit.training.recipe import Domain

# What reading a file raises that is of another kind, or lacks what the template asks for.
UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


@dataclass
class Documents:
    """A domain's text, split into training and held-out documents."""

    training: list[str]
    held_out: list[str]


def read_domain(domain: Domain, data_dir: Path, seed: int) -> Documents:
    """All documents of `domain`; `held_out_documents` are drawn with `seed`.

    Raises:
        DynexitError: a path that matches no file, or a file of another format.
    """
    rows = list(_documents(domain, data_dir))
    held_out = [text for path, text in rows if _matches(path, domain.held_out_paths)]
    training = [text for path, text in rows if not _matches(path, domain.held_out_paths)]
    random.Random(seed).shuffle(training)
    if domain.held_out_documents:
        held_out += training[-domain.held_out_documents :]
        training = training[: -domain.held_out_documents]
    if not training or not held_out:
        raise DynexitError(f"domain {domain.name!r}: needs both training text and held-out text.")
    return Documents(training, held_out)


def _matches(path: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(path, pattern) for pattern in patterns)


def _documents(domain: Domain, data_dir: Path) -> Iterator[tuple[str, str]]:
    """(path relative to its root, text) of every document."""
    stdlib = domain.kind == "python-stdlib"
    root = Path(sysconfig.get_paths()["stdlib"]) if stdlib else data_dir
    for pattern in domain.paths or ["**/*.py"]:
        files = sorted(root.glob(pattern))
        if not files:
            raise DynexitError(f"domain {domain.name!r}: no file matches {root / pattern}.")
        for file in files:
            name = file.relative_to(root).as_posix()
            if _matches(name, domain.exclude_paths):
                continue
            try:
                yield from ((name, text) for text in _read_file(domain, file))
            except UNREADABLE as error:
                raise DynexitError(
                    f"{file} does not hold {domain.kind} text as expected ({error})."
                ) from error


def _read_file(domain: Domain, file: Path) -> Iterator[str]:
    if domain.kind == "jsonl":
        with file.open(encoding="utf-8") as lines:
            yield from (domain.template.format_map(json.loads(line)) for line in lines)
    elif domain.kind == "tsv":
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
                fields = dict(zip(domain.columns, row, strict=False))
                yield domain.template.format_map(fields)
    else:
        text = file.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
        yield from split_at_blank_lines(text, domain.document_characters)


def split_at_blank_lines(text: str, characters: int) -> Iterator[str]:
    """Consecutive pieces of `text` of about `characters`, each ending where a paragraph ends."""
    piece = ""
    for paragraph in text.split("\n\n"):
        piece += paragraph + "\n\n"
        if len(piece) >= characters:
            yield piece
            piece = ""
    if piece.strip():
        yield piece


@dataclass
class DomainStream:
    """A domain's documents in an order reshuffled every epoch, as one endless row of tokens."""

    documents: list[np.ndarray[Any, Any]]
    seed: int
    epoch: int = 0
    offset: int = 0
    _tokens: np.ndarray[Any, Any] | None = field(default=None, repr=False)

    def take(self, length: int) -> np.ndarray[Any, Any]:
        """The next `length` tokens; an epoch's last, too short piece is left out."""
        if self._tokens is not None and self.offset + length > len(self._tokens):
            self.epoch, self.offset, self._tokens = self.epoch + 1, 0, None
        if self._tokens is None:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.documents))
            self._tokens = np.concatenate([self.documents[i] for i in order])
        window = self._tokens[self.offset : self.offset + length]
        self.offset += length
        return window


class Mixture:
    """Windows of all domains, drawn by weight. Its state is small and makes a run resumable."""

    def __init__(self, streams: list[DomainStream], weights: list[float], seed: int) -> None:
        self._streams, self._seed, self._drawn = streams, seed, 0
        self._weights = np.array(weights) / sum(weights)

    def batch(self, windows: int, length: int) -> np.ndarray[Any, Any]:
        """[windows, length] token ids."""
        generator = np.random.default_rng((self._seed, self._drawn))
        self._drawn += 1
        picks = generator.choice(len(self._streams), size=windows, p=self._weights)
        return np.stack([self._streams[pick].take(length) for pick in picks])

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {"drawn": self._drawn, "streams": [(s.epoch, s.offset) for s in self._streams]}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        self._drawn = operator.index(state["drawn"])
        for stream, (epoch, offset) in zip(self._streams, state["streams"], strict=True):
            stream.epoch, stream.offset = operator.index(epoch), operator.index(offset)


def encode(tokenizer: Tokenizer, documents: list[str], end: int) -> list[np.ndarray[Any, Any]]:
    """Token ids of every document, each closed by the `end` token."""
    encodings = tokenizer.encode_batch(documents, add_special_tokens=False)
    return [np.array([*e.ids, end], dtype=np.int32) for e in encodings]
