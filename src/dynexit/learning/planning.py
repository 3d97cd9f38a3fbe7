"""Chooses the texts that a model writes, one after the other, until there are enough tokens.

Not responsible for writing them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from dynexit.learning.journal import Key, Text
from dynexit.learning.prompts import Prompt, families, in_turn, is_held_out, make_prompt, rewrites

GREEDY = 0.0
WARM = (0.7, 0.8, 0.9, 1.0)  # temperatures of texts that are drawn, in turn
TRIES = 20  # numbers in a row that bring no new prompt, before a family has no more
NEW = 64  # texts in a row that are too new to be quoted: they may still be on their way
LOST = 2048  # texts in a row after which one that has not come is not waited for: it did not fit

Item = tuple[Prompt, float]  # and a temperature


class Plan:
    """Prompts with temperatures: a user's own first, then the built-in families in turn.

    Each prompt is answered greedily, and unless it is held out, once more at some temperature.

    Args:
        own: a user's prompts.
        chat: the model has a chat template.
        finished: the texts that there are; it may grow meanwhile.
        as_text: what tokens say.
        only: built-in families, where it is not to be all of them.
    """

    def __init__(
        self,
        own: Sequence[Prompt],
        chat: bool,
        finished: Mapping[Key, Text],
        as_text: Callable[[Sequence[int]], str],
        only: Sequence[str] = (),
    ) -> None:
        self._families = list(in_turn(only))
        self._own, self._chat, self._finished, self._as_text = own, chat, finished, as_text
        self._seen: set[str] = set()
        self._asked: list[Key] = []
        self._sources: dict[bool, list[str]] = {True: [], False: []}  # by whether held out
        self._looked_at = 0

    def __iter__(self) -> Iterator[Item]:
        """Everything that is to be written, what has been written already included."""
        for prompt in self._own:
            yield from self._answers(prompt)
        turns = dict.fromkeys(self._families, 0)
        going = True
        while going:  # not where nothing is left but to quote texts that will not come
            going = False
            for family in self._families:
                found = self._next(family, turns[family])
                if found is not None:
                    turns[family], going = found.number + 1, True
                    yield from self._answers(found)

    def _next(self, family: str, start: int) -> Prompt | None:
        """The family's next prompt that is new; None where there is none, or nothing to quote."""
        for number in range(start, start + TRIES):
            sources = self._quotable(is_held_out(number)) if rewrites(family) else []
            if rewrites(family) and not sources:
                return None
            prompt = make_prompt(family, number, self._chat, sources)
            if prompt.text not in self._seen:
                self._seen.add(prompt.text)
                return prompt
        return None

    def _answers(self, prompt: Prompt) -> Iterator[Item]:
        temperatures = [GREEDY]
        if not prompt.held_out:
            temperatures.append(Random(f"{prompt.family}/{prompt.number}/warm").choice(WARM))
        for temperature in temperatures:
            self._asked.append((prompt.family, prompt.number, temperature))
            yield prompt, temperature

    def _quotable(self, held_out: bool) -> list[str]:
        """Texts to quote: greedy ones of prompts that quote nothing. What is held out is quoted by
        what is held out alone.
        """
        while self._looked_at < len(self._asked) - NEW:
            family, _, temperature = key = self._asked[self._looked_at]
            text = self._finished.get(key)
            if text is None and len(self._asked) - self._looked_at < LOST:
                break
            self._looked_at += 1
            if text is None:
                continue
            quoted = family in families() and not rewrites(family) and temperature == GREEDY
            if quoted and (said := self._as_text(text.new_tokens)).strip():
                self._sources[text.held_out].append(said)
        return self._sources[held_out]
