"""What every layer would have predicted for a known text (teacher forced), without decoding."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dynexit.model.interface import Model, Span

POSITIONS = 16  # unembedded at once


@dataclass(frozen=True)
class LayerReadings:
    """Sums over the positions of some text, per exit layer 1..L (index 0 is layer 1)."""

    positions: int
    agreeing: list[int]  # positions where the exit's argmax is the last layer's
    nats: list[float]  # cross entropy of the exit against the text

    @property
    def agreement(self) -> list[float]:
        """Share of positions where an exit predicts what the last layer does."""
        return [count / max(self.positions, 1) for count in self.agreeing]

    def __add__(self, other: "LayerReadings") -> "LayerReadings":
        return LayerReadings(
            self.positions + other.positions,
            [a + b for a, b in zip(self.agreeing, other.agreeing, strict=True)],
            [a + b for a, b in zip(self.nats, other.nats, strict=True)],
        )


@torch.inference_mode()
def read_layers(model: Model, tokens: Tensor, limit: int | None = None) -> LayerReadings:
    """Run `tokens` [T] through the model once and read every layer's prediction of the next.

    Args:
        limit: exits, not the last layer, choose among so many draft tokens; None is all.
    """
    states: list[Tensor] = []
    rows = model.rows([Span(model.new_cache(), 0, len(tokens) - 1)])
    model.run_layers(model.embed(tokens[:-1]), rows, 0, model.config.num_layers, states)
    limits = [limit] * (len(states) - 1) + [None]
    read = [_read(model, *one, tokens[1:]) for one in zip(states, limits, strict=True)]
    predictions, nats = zip(*read, strict=True)
    agreeing = [int((p == predictions[-1]).sum()) for p in predictions]
    return LayerReadings(len(tokens) - 1, agreeing, list(nats))


def _read(
    model: Model, hidden: Tensor, limit: int | None, following: Tensor
) -> tuple[Tensor, float]:
    """Predictions [T] and summed nats; a few positions' logits are held at a time."""
    predictions, nats = [], 0.0
    for rows, tokens in zip(hidden.split(POSITIONS), following.split(POSITIONS), strict=True):
        logits = model.unembed(rows).float()
        chosen = logits if limit is None else model.unembed(rows, limit)
        predictions.append(chosen.argmax(-1))
        nats += float(F.cross_entropy(logits, tokens, reduction="sum"))
    return torch.cat(predictions), nats
