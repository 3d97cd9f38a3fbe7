"""Collects a model's own text, as many tokens as asked for, in a journal that can be continued.

Not responsible for learning from it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from zlib import crc32

from dynexit.language_model import LanguageModel
from dynexit.learning.journal import Journal, Text, packed
from dynexit.learning.planning import Item, Plan
from dynexit.learning.prompts import Prompt
from dynexit.learning.writing import Order, Writer, Written
from dynexit.plain import Within

MISFITS = 1000  # prompts in a row that are too long for the context, before none is thought to fit
Count = Annotated[int, Within(1, 2**40)]


@dataclass(frozen=True)
class Settings:
    """Settings of `learn`.

    Attributes:
        tokens: new ones that the model writes, of all texts together.
        table_size: bytes of the table, at most.
        prompts: a file of prompts that come before the built-in ones.
        judges: a file of prompts whose greedy texts judge the result, and teach nothing.
        families: built-in ones, where it is not to be all of them.
        longest: new tokens of a text, at most.
        batch_size: texts that share passes.
    """

    tokens: Count = 500_000
    table_size: Count = 2_000_000
    prompts: Path | None = None
    judges: Path | None = None
    families: tuple[str, ...] = ()
    longest: Count = 256
    batch_size: Annotated[int, Within(1, 1024)] = 32


def collect(
    lm: LanguageModel,
    journal: Journal,
    own: list[Prompt],
    settings: Settings,
    progress: Callable[[int], None],
) -> None:
    """Let a model write until the journal holds enough; `progress` is told of new tokens.

    Raises:
        DynexitError: the journal cannot be written.
    """
    plan = Plan(own, has_chat(lm), journal.texts, _reader(lm), settings.families)
    orders = _Orders(lm, iter(plan), journal, settings, progress)
    writer = Writer(lm.model, lm.eos, settings.batch_size, settings.longest)
    for written in writer.write(orders.next, orders.count):
        journal.append(_text(written))


def has_chat(lm: LanguageModel) -> bool:
    """Whether prompts can be messages."""
    return lm.tokenizer is not None and bool(lm.tokenizer.loaded.chat_template)


def _reader(lm: LanguageModel) -> Callable[..., str]:
    assert lm.tokenizer is not None
    return lm.tokenizer.decode


class _Orders:
    """The plan's texts that are not there yet, until enough tokens are."""

    def __init__(
        self,
        lm: LanguageModel,
        items: Iterator[Item],
        journal: Journal,
        settings: Settings,
        progress: Callable[[int], None],
    ) -> None:
        self._lm, self._items, self._settings = lm, items, settings
        self._tokens, self._progress = 0, progress
        self._done = frozenset(journal.texts)
        self.count(sum(len(text.new_tokens) for text in journal.texts.values()))

    def count(self, tokens: int) -> None:
        """So many more tokens are written."""
        self._tokens += tokens
        self._progress(tokens)

    def next(self) -> Order | None:
        """The next text to write; None once there is enough."""
        misfits = 0
        while self._tokens < self._settings.tokens and misfits < MISFITS:
            item = next(self._items, None)
            if item is None:
                return None
            prompt, temperature = item
            if (prompt.family, prompt.number, temperature) in self._done:
                continue
            ids = self._lm.prompt_tokens(prompt.text, prompt.chat)
            if len(ids) + self._settings.longest <= self._lm.model.config.max_positions:
                seed = crc32(f"{prompt.family}/{prompt.number}/{temperature}".encode())
                return Order(ids, temperature, seed, prompt)
            misfits += 1
        return None


def _text(written: Written) -> Text:
    order = written.order
    return Text(
        family=order.about.family,
        number=order.about.number,
        temperature=order.temperature,
        prompt_length=len(order.prompt),
        tokens=tuple(written.tokens),
        first=written.first,
        likely=packed(written.likely),
        chances=packed(written.chances),
    )
