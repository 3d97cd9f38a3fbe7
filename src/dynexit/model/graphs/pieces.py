"""What is recorded, for a number of rows: blocks of layers, and the head.

Each recording costs time to launch, and there are as many exits as layers. So blocks are as in a
binary tree: layers [0, 6) are [0, 4) and [4, 6), layers [6, 32) are [6, 8), [8, 16) and
[16, 32). An exit needs few, and most of them have been recorded for others.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from dynexit.model.config import ModelConfig
from dynexit.model.graphs.recording import Piece, Recorder
from dynexit.model.graphs.sight import Sight
from dynexit.model.interface import Span
from dynexit.model.transformer import Angles, Transformer

WIDTHS = (1, 2, 4, 8, 16, 32, 64)
HEAD_SIZES = 8  # numbers of tokens with which the head is recorded

# Given the sight of W rows, a layer's index, and a pass's queries [W, H, head_dim], keys and values
# [W, KVH, head_dim], writes the latter into the rows' caches and attends: [W, H * head_dim]. A row
# that a pass does not need writes nothing; its numbers are of no use, but numbers.
Attend = Callable[[Sight, int, Tensor, Tensor, Tensor], Tensor]


def width_of(rows: int) -> int | None:
    """The recorded number of rows that has room for so many; None for a prompt's."""
    return next((width for width in WIDTHS if rows <= width), None)


def blocks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The fewest ranges of a binary tree that make up [start, stop): each is as long as a power of
    two, and begins at a multiple of its length.
    """
    while start < stop:
        room = 1 << (stop - start).bit_length() - 1
        size = min(start & -start or room, room)
        yield start, start + size
        start += size


class Stage:
    """The tensors that layers read and write for W rows on one device. They stay where they are.

    Rows that a pass does not need keep what an earlier one left: no row's numbers depend on
    another's. No piece overwrites what it reads: it may run several times while it is recorded.

    Attributes:
        states: [L + 1, W, D]: those at l enter layer l, counted from 0, and left the one before.
    """

    def __init__(self, config: ModelConfig, width: int, like: Tensor, attend: Attend) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=like.dtype, device=like.device)

        self.device, self._attend = like.device, attend
        self.states = zeros(config.num_layers + 1, width, config.hidden_size)
        self.cos, self.sin = (zeros(width, 1, config.head_dim) for _ in range(2))
        self.sight = Sight(width, config.num_layers, like.device)

    def take(
        self, hidden: Tensor, angles: Angles, spans: Sequence[Span], start: int, stop: int
    ) -> None:
        """Fill in the tables that layers [start, stop) need for a pass over `spans`."""
        count = len(hidden)
        self.states[start, :count] = hidden
        self.cos[:count], self.sin[:count] = angles.cos, angles.sin
        self.sight.put(spans, start, stop)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See `transformer.Attending`."""
        return self._attend(self.sight, layer, query, key, value)


class HeadStage:
    """The same for the head: W states in, their readings out."""

    def __init__(self, config: ModelConfig, width: int, like: Tensor) -> None:
        exact = torch.promote_types(like.dtype, torch.float32)
        self.hidden = torch.zeros(width, config.hidden_size, dtype=like.dtype, device=like.device)
        self.numbers = torch.zeros(3, width, dtype=exact, device=like.device)


class Pieces:
    """The recordings of a model and their tensors, each made when it is first needed.

    Not safe in several threads at once. The model's weights must stay where they are.
    """

    def __init__(self, model: Transformer, record: Recorder, attend: Attend) -> None:
        self._model, self._record, self._attend = model, record, attend
        self._stages: dict[tuple[torch.device, int], Stage] = {}
        self._heads: dict[int, HeadStage] = {}
        self._head_sizes: set[int] = set()
        self._recorded: dict[Hashable, Piece] = {}

    def __len__(self) -> int:
        return len(self._recorded)

    def stage(self, index: int, width: int) -> Stage:
        """Where layer `index` runs."""
        like = self._model.layer(index).out.weight
        if (like.device, width) not in self._stages:
            made = Stage(self._model.config, width, like, self._attend)
            self._stages[like.device, width] = made
        return self._stages[like.device, width]

    def head(self, width: int) -> HeadStage:
        """Where the head runs."""
        if width not in self._heads:
            like = self._model.embedding.weight
            self._heads[width] = HeadStage(self._model.config, width, like)
        return self._heads[width]

    def run(self, start: int, stop: int, width: int) -> None:
        """Run layers [start, stop), which are on one device."""
        stage = self.stage(start, width)
        for block in blocks(start, stop):
            self._play(("layers", *block, width), stage.device, partial(self._run, stage, *block))

    def records_head(self, tokens: int) -> bool:
        """Whether a head of so many tokens is recorded, or may be: a method's setting names the
        number, and recordings stay.
        """
        if len(self._head_sizes) < HEAD_SIZES:
            self._head_sizes.add(tokens)
        return tokens in self._head_sizes

    def measure(self, tokens: int, width: int) -> None:
        """Read the first `tokens` of the head."""
        stage = self.head(width)
        measure = partial(self._measure, stage, tokens)
        self._play(("head", tokens, width), self._model.device, measure)

    def _play(self, key: Hashable, device: torch.device, run: Piece) -> None:
        if key not in self._recorded:
            self._recorded[key] = self._record(run, device)
        self._recorded[key]()

    def _run(self, stage: Stage, start: int, stop: int) -> None:
        for index in range(start, stop):
            stage.states[index + 1] = self._model.layer(index)(stage.states[index], stage)

    def _measure(self, stage: HeadStage, tokens: int) -> None:
        stage.numbers.copy_(self._model.measure(stage.hidden, tokens))
