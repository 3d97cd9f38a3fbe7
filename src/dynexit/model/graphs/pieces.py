"""What is recorded, per layer and number of rows: all that comes between two attentions.

- `enter`: the norm, queries, keys and values of layer l, turned to their positions;
- `leave`: from what layer l attended to, to the states that leave it;
- `onward`: `leave` of layer l, then `enter` of layer l + 1.

A segment of layers [a, b) is `enter` a, `onward` a .. b - 2, `leave` b - 1, with an attention
between any two. So any exit runs whatever was recorded before for its layers, computes nothing that
it does not need, and lacks at most two pieces.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from dynexit.model.config import ModelConfig
from dynexit.model.graphs.recording import Piece, Recorder
from dynexit.model.transformer import Angles, Transformer

WIDTHS = (1, 2, 4, 8, 16, 32, 64)
HEAD_SIZES = 8  # numbers of tokens with which the head is recorded


def width_of(rows: int) -> int | None:
    """The recorded number of rows that has room for so many; None for a prompt's."""
    return next((width for width in WIDTHS if rows <= width), None)


class Stage:
    """The tensors that pieces of W rows read and write, on one device. They stay where they are.

    Rows that a pass does not need keep what an earlier one left: no row's numbers depend on
    another's. States have two places, for layers of even and of odd index, because no piece may
    overwrite what it reads: it may run several times while it is recorded.
    """

    def __init__(self, config: ModelConfig, width: int, like: Tensor) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(width, *shape, dtype=like.dtype, device=like.device)

        dim, heads = config.head_dim, config.num_heads
        self.device = like.device
        self._states = zeros(config.hidden_size), zeros(config.hidden_size)
        self.cos, self.sin = zeros(1, dim), zeros(1, dim)
        self.query, self.attended = zeros(heads, dim), zeros(heads * dim)
        self.key, self.value = zeros(config.num_kv_heads, dim), zeros(config.num_kv_heads, dim)

    def states(self, index: int) -> Tensor:
        """[W, D], the states that enter layer `index` and left the one before."""
        return self._states[index % 2]

    def take(self, index: int, hidden: Tensor, angles: Angles) -> None:
        """Put in states that enter layer `index`, and the angles of their positions."""
        count = len(hidden)
        self.states(index)[:count] = hidden
        self.cos[:count], self.sin[:count] = angles.cos, angles.sin

    def heads(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of the first rows."""
        return self.query[:count], self.key[:count], self.value[:count]


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

    def __init__(self, model: Transformer, record: Recorder) -> None:
        self._model, self._record = model, record
        layers = (model.layer(index) for index in range(model.config.num_layers))
        self._likes = [layer.out.weight for layer in layers]
        self._stages: dict[tuple[torch.device, int], Stage] = {}
        self._heads: dict[int, HeadStage] = {}
        self._head_sizes: set[int] = set()
        self._recorded: dict[tuple[str, int, int], Piece] = {}

    def __len__(self) -> int:
        return len(self._recorded)

    def stage(self, index: int, width: int) -> Stage:
        """Where layer `index` runs."""
        like = self._likes[index]
        if (like.device, width) not in self._stages:
            self._stages[like.device, width] = Stage(self._model.config, width, like)
        return self._stages[like.device, width]

    def head(self, width: int) -> HeadStage:
        """Where the head runs."""
        if width not in self._heads:
            like = self._model.embedding.weight
            self._heads[width] = HeadStage(self._model.config, width, like)
        return self._heads[width]

    def enter(self, index: int, width: int) -> None:
        """What comes before the attention of layer `index`."""
        self._play("enter", index, width, self._enter)

    def leave(self, index: int, width: int) -> None:
        """What comes after it."""
        self._play("leave", index, width, self._leave)

    def onward(self, index: int, width: int) -> None:
        """What comes after it and before that of the next layer, which is on the same device."""
        self._play("onward", index, width, self._onward)

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
            device = self._model.device if name == "measure" else self._likes[which].device
            piece = self._record(lambda: run(which, width), device)
            self._recorded[name, which, width] = piece
        self._recorded[name, which, width]()

    def _enter(self, index: int, width: int) -> None:
        stage = self.stage(index, width)
        heads = self._model.layer(index).enter(stage.states(index), stage)
        for place, new in zip(stage.heads(width), heads, strict=True):
            place.copy_(new)

    def _leave(self, index: int, width: int) -> None:
        stage = self.stage(index, width)
        left = self._model.layer(index).leave(stage.states(index), stage.attended)
        stage.states(index + 1).copy_(left)

    def _onward(self, index: int, width: int) -> None:
        self._leave(index, width)
        self._enter(index + 1, width)

    def _measure(self, tokens: int, width: int) -> None:
        stage = self.head(width)
        stage.numbers.copy_(self._model.measure(stage.hidden, tokens))
