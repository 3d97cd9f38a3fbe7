"""What is recorded: each layer, and the head, for a number of rows. So any exit runs whatever was
recorded before for its layers, and computes nothing that it does not need.
"""

from collections.abc import Callable, Sequence

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


class Stage:
    """The tensors that layers read and write for W rows on one device. They stay where they are.

    Rows that a pass does not need keep what an earlier one left: no row's numbers depend on
    another's. States have two places, for layers of even and of odd index, because no piece may
    overwrite what it reads: it may run several times while it is recorded.
    """

    def __init__(self, config: ModelConfig, width: int, like: Tensor, attend: Attend) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(width, *shape, dtype=like.dtype, device=like.device)

        self.device, self._attend = like.device, attend
        self._states = zeros(config.hidden_size), zeros(config.hidden_size)
        self.cos, self.sin = zeros(1, config.head_dim), zeros(1, config.head_dim)
        self.sight = Sight(width, config.num_layers, like.device)

    def states(self, index: int) -> Tensor:
        """[W, D], the states that enter layer `index` and left the one before."""
        return self._states[index % 2]

    def take(
        self, hidden: Tensor, angles: Angles, spans: Sequence[Span], start: int, stop: int
    ) -> None:
        """Put in what layers [start, stop) need to know of a pass over `spans`."""
        count = len(hidden)
        self.states(start)[:count] = hidden
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
    """All that is recorded of a model, and the tensors it works on; made as it is first needed.

    Not safe in several threads at once. The model's weights must stay where they are.
    """

    def __init__(self, model: Transformer, record: Recorder, attend: Attend) -> None:
        self._model, self._record, self._attend = model, record, attend
        self._stages: dict[tuple[torch.device, int], Stage] = {}
        self._heads: dict[int, HeadStage] = {}
        self._head_sizes: set[int] = set()
        self._recorded: dict[tuple[str, int, int], Piece] = {}

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

    def layer(self, index: int, width: int) -> None:
        """Run layer `index`."""
        self._play("layer", index, width, self._layer)

    def records_head(self, tokens: int) -> bool:
        """Whether a head of so many tokens is recorded, or may be: a method's setting names the
        number, and recordings stay.
        """
        if len(self._head_sizes) < HEAD_SIZES:
            self._head_sizes.add(tokens)
        return tokens in self._head_sizes

    def measure(self, tokens: int, width: int) -> None:
        """Read the first `tokens` of the head."""
        self._play("measure", tokens, width, self._measure)

    def _play(self, name: str, which: int, width: int, run: Callable[[int, int], None]) -> None:
        if (name, which, width) not in self._recorded:
            device = self._model.device if name == "measure" else self.stage(which, width).device
            self._recorded[name, which, width] = self._record(lambda: run(which, width), device)
        self._recorded[name, which, width]()

    def _layer(self, index: int, width: int) -> None:
        stage = self.stage(index, width)
        left = self._model.layer(index)(stage.states(index), stage)
        stage.states(index + 1).copy_(left)

    def _measure(self, tokens: int, width: int) -> None:
        stage = self.head(width)
        stage.numbers.copy_(self._model.measure(stage.hidden, tokens))
