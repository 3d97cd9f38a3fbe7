"""Writes many texts at once: rows of all texts share each forward pass.

Not responsible for prompts. It has a small loop of its own, since nothing is drafted here, and it
records the likeliest tokens of every position from the logits.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dynexit.decoding.prefilling import PREFILL_ROWS
from dynexit.model.interface import Model, Span

KEPT = 8  # likeliest tokens that are read at every position
WIDTH = 128  # logits that are looked at together: the best of all are in the blocks of best maxima
LOOP = 32  # tokens that end a text when they come a second time
LOOK = 16  # new tokens between two looks for that


@dataclass(frozen=True)
class Order:
    """What is to be written.

    Attributes:
        temperature: 0 is greedy.
        seed: of what is drawn.
        about: whatever the caller wants back with the text.
    """

    prompt: list[int]
    temperature: float
    seed: int
    about: Any


@dataclass(eq=False)
class Written:
    """A text, and what the model thought likely at its positions.

    Attributes:
        tokens: prompt and text, the token that ended it included.
        first: the row of `likely` and `chances` that comes first: row i is what follows token i.
        likely, chances: [n, KEPT], the likeliest tokens and their probabilities.
    """

    order: Order
    tokens: list[int]
    first: int
    likely: NDArray[np.uint32]
    chances: NDArray[np.float16]


@dataclass(eq=False)
class _Text:
    """One on its way."""

    order: Order
    cache: Any
    tokens: list[int]
    random: np.random.Generator
    first: int = 0
    likely: list[NDArray[Any]] = field(default_factory=list)  # of [n, KEPT] or [KEPT]
    chances: list[NDArray[Any]] = field(default_factory=list)

    @property
    def new(self) -> list[int]:
        return self.tokens[len(self.order.prompt) :]

    def written(self) -> Written:
        likely = np.concatenate(self.likely).reshape(-1, KEPT).astype(np.uint32)
        chances = np.concatenate(self.chances).reshape(-1, KEPT).astype(np.float16)
        return Written(self.order, self.tokens, self.first, likely, chances)


class Writer:
    """Writes texts, `batch_size` at a time.

    Args:
        eos: tokens that end a text.
        longest: new tokens of a text, at most.
    """

    def __init__(self, model: Model, eos: frozenset[int], batch_size: int, longest: int) -> None:
        self.model, self.eos, self.batch_size, self.longest = model, eos, batch_size, longest

    @torch.inference_mode()
    def write(
        self, orders: Callable[[], Order | None], progress: Callable[[int], None]
    ) -> Iterator[Written]:
        """Texts as they are finished.

        Args:
            orders: gives the next, or None, once there are no more for now: it is asked again after
                every text.
            progress: called with new tokens, pass by pass.
        """
        running: list[_Text] = []
        wanted = True
        while True:
            while wanted and len(running) < self.batch_size and (order := orders()) is not None:
                running.append(self._begin(order))
                progress(1)
            if not running:
                return
            ended = [text for text in running if self._over(text)]
            wanted = bool(ended)
            for text in ended:
                running.remove(text)
                yield text.written()
            if running and not ended:
                self._advance(running)
                progress(len(running))

    def _begin(self, order: Order) -> _Text:
        """The prompt in one go, and the first token. What is likely in the prompt is read, too,
        unless tokens are drawn: a greedy text has the same prompt.
        """
        cache, count, greedy = self.model.new_cache(), len(order.prompt), not order.temperature
        text = _Text(order, cache, list(order.prompt), np.random.default_rng(order.seed))
        text.first = 0 if greedy else count - 1
        for start, stop in pairwise([*range(0, count, PREFILL_ROWS), count]):
            hidden = self._run(order.prompt[start:stop], [Span(cache, start, stop - start)])
            rows = hidden if greedy else hidden[-1:]
            if greedy or stop == count:
                logits = self.model.unembed(rows)
                likely, chances = likeliest(logits)
                text.likely.append(likely.reshape(-1))
                text.chances.append(chances.reshape(-1))
        cache.length = count
        drawn = draw(logits[-1:], [order.temperature], [text.random.random()]) if not greedy else []
        text.tokens.append(int(likely[-1, 0]) if greedy else drawn[0])
        return text

    def _advance(self, running: list[_Text]) -> None:
        """One more token of each."""
        spans = [Span(text.cache, text.cache.length, 1) for text in running]
        logits = self.model.unembed(self._run([text.tokens[-1] for text in running], spans))
        likely, chances = likeliest(logits)
        chosen = likely[:, 0].tolist()
        rows = [row for row, text in enumerate(running) if text.order.temperature]
        if rows:
            temperatures = [running[row].order.temperature for row in rows]
            luck = [running[row].random.random() for row in rows]
            for row, token in zip(rows, draw(logits[rows], temperatures, luck), strict=True):
                chosen[row] = token
        for row, text in enumerate(running):
            text.cache.length += 1
            text.tokens.append(chosen[row])
            text.likely.append(likely[row])
            text.chances.append(chances[row])

    def _run(self, tokens: list[int], spans: list[Span]) -> Tensor:
        model = self.model
        return model.run_layers(model.embed(tokens), model.rows(spans), 0, model.config.num_layers)

    def _over(self, text: _Text) -> bool:
        count = len(text.tokens) - len(text.order.prompt)
        full = count >= self.longest or len(text.tokens) >= self.model.config.max_positions
        return full or text.tokens[-1] in self.eos or (not count % LOOK and loops(text.new))


def loops(tokens: list[int]) -> bool:
    """Whether a text's last tokens stood in it before: from there on lookup has it all."""
    last = tokens[-LOOP:]
    ends = range(LOOP, len(tokens))
    return any(tokens[end - 1] == last[-1] and tokens[end - LOOP : end] == last for end in ends)


def likeliest(logits: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """The likeliest tokens of logits [n, V] and their probabilities, two of [n, KEPT].

    Rows that are no numbers have probabilities that are none.
    """
    blocks = _blocks(logits)
    count = min(KEPT, blocks.shape[1])
    which = blocks.amax(-1).topk(count).indices  # [n, KEPT]
    among = blocks.gather(1, which[..., None].expand(-1, -1, WIDTH)).flatten(1)
    best, place = among.topk(KEPT)
    tokens = which.gather(1, place // WIDTH) * WIDTH + place % WIDTH
    chances = (best - logits.logsumexp(-1, keepdim=True).to(best)).exp()
    return tokens.cpu().numpy(), chances.cpu().numpy()


def draw(logits: Tensor, temperatures: list[float], luck: list[float]) -> list[int]:
    """A token for each row of logits [n, V], by numbers in [0, 1): first its block, then it."""
    heat = torch.tensor(temperatures, device=logits.device)[:, None]
    weights = _blocks(((logits - logits.amax(-1, keepdim=True)).float() / heat).exp_(), 0.0)
    sums = weights.sum(-1).cumsum(-1)
    wanted = torch.tensor(luck, device=logits.device)[:, None] * sums[:, -1:]
    block = _reached(sums, wanted)
    inside = weights.gather(1, block[..., None].expand(-1, -1, WIDTH))[:, 0].cumsum(-1)
    before = torch.where(block > 0, sums.gather(1, (block - 1).clamp(min=0)), 0)
    found: list[int] = (block * WIDTH + _reached(inside, wanted - before))[:, 0].tolist()
    return found


def _reached(sums: Tensor, wanted: Tensor) -> Tensor:
    """Where rising sums [n, m] first exceed what is wanted [n, 1]; at the latest, where they end
    to rise: sums are rounded.
    """
    last = (sums < sums[:, -1:]).sum(-1, keepdim=True)
    return torch.minimum(torch.searchsorted(sums, wanted, right=True), last)


def _blocks(values: Tensor, nothing: float = -torch.inf) -> Tensor:
    """[n, V] -> [n, V / WIDTH, WIDTH], filled up to whole blocks."""
    missing = -values.shape[1] % WIDTH
    filled = F.pad(values, (0, missing), value=nothing) if missing else values
    return filled.unflatten(1, (-1, WIDTH))
