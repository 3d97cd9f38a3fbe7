"""LayerSkip's training objective (arXiv 2404.16710, section 4): layer dropout, early-exit loss.

L layers, l a 0-based layer, B windows of T tokens, N = B * T rows, V vocabulary.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dynexit.model.rows import PackedBatch
from dynexit.model.transformer import Transformer
from dynexit.training.cross_entropy import cross_entropy
from dynexit.training.recipe import EarlyExit


def dropout_rate(settings: EarlyExit, layer: int, num_layers: int, progress: float) -> float:
    """p = p_max * D(l) * S(t), D exponential over depth, S over training from scratch."""
    depth = 2 ** (layer / max(num_layers - 1, 1)) - 1
    exponential = settings.dropout_schedule == "exponential"
    schedule = 2**progress - 1 if exponential else 1.0
    return settings.dropout_max * depth * schedule


def enabled_exits(settings: EarlyExit, num_layers: int, step: int, progress: float) -> list[int]:
    """Early layers whose exit has a loss at this step, by the curriculum; never the last."""
    if settings.loss_scale == 0:
        return []
    early = range(num_layers - 1)
    if settings.curriculum == "rotational":
        return [layer for layer in early if (layer - step) % settings.rotation == 0]
    reached = math.ceil((num_layers - 1) * min(1.0, 2 * progress))  # all of them by half way
    return list(early)[num_layers - 1 - reached :]


def exit_weight(settings: EarlyExit, layer: int, num_layers: int) -> float:
    """e(l): as published it grows with the sum of the layers below, so that deep exits dominate.

    `uniform` gives every exit `loss_scale` against 1 for the last layer: early exits, where a
    small model wants to draft, then count as much as late ones.
    """
    last = layer == num_layers - 1
    if settings.exit_weights == "uniform":
        return 1.0 if last else settings.loss_scale
    if last:
        return (num_layers - 1) + settings.loss_scale * (num_layers - 2) * (num_layers - 1) / 2
    return settings.loss_scale * layer * (layer + 1) / 2


@dataclass
class Losses:
    """The value to minimise, and the last layer's own cross entropy in nats per token."""

    total: Tensor
    last: Tensor


class Objective:
    """The loss of a batch at a point of the run.

    Args:
        teacher: whose distribution all layers learn; None is the text for the last, and the last
            one's for the others.
    """

    def __init__(
        self, model: Transformer, settings: EarlyExit, teacher: Transformer | None = None
    ) -> None:
        self._model, self._settings, self._teacher = model, settings, teacher
        self._num_layers = model.config.num_layers

    def __call__(self, tokens: Tensor, step: int, progress: float) -> Losses:
        """`tokens` [B, T]: every position but the last predicts the next one."""
        inputs, targets = tokens[:, :-1], tokens[:, 1:].flatten()
        exits = enabled_exits(self._settings, self._num_layers, step, progress)
        states = self._run(inputs, set(exits), progress)
        last_logits = self._logits(states[self._num_layers - 1])
        soft = self._soft(inputs, last_logits)
        taught = soft if self._teacher is not None else None
        last = cross_entropy(last_logits, targets if taught is None else taught)
        weight = exit_weight(self._settings, self._num_layers - 1, self._num_layers)
        total, weights = weight * last, weight
        for layer in exits:
            weight = exit_weight(self._settings, layer, self._num_layers)
            total = total + weight * self._exit_loss(states[layer], targets, soft)
            weights += weight
        return Losses(total / weights, last.detach())

    def _soft(self, inputs: Tensor, last_logits: Tensor) -> Tensor | None:
        """The distribution to distil, [N, V]."""
        if self._teacher is not None:
            with torch.no_grad():
                return self._logits(self._taught(inputs), self._teacher).softmax(-1)
        return last_logits.detach().softmax(-1) if self._settings.distill > 0 else None

    def _taught(self, inputs: Tensor) -> Tensor:
        """The teacher's last hidden states, [N, D]."""
        teacher = self._teacher
        assert teacher is not None
        hidden = teacher.embed(inputs.flatten())
        rows = PackedBatch(inputs.shape[1], teacher.rotary, hidden)
        for layer in teacher.layers:
            hidden = layer(hidden, rows)
        return hidden

    def _logits(self, hidden: Tensor, model: Transformer | None = None) -> Tensor:
        """At least fp32, whatever autocast multiplied in: [N, V]."""
        logits = (model or self._model).unembed(hidden)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _exit_loss(self, hidden: Tensor, targets: Tensor, soft: Tensor | None) -> Tensor:
        """Cross entropy against the text, the last layer's distribution, or a mixture."""
        logits, share = self._logits(hidden), self._settings.distill
        if soft is None:
            return cross_entropy(logits, targets)
        distilled = cross_entropy(logits, soft)
        if share >= 1:
            return distilled
        return torch.lerp(cross_entropy(logits, targets), distilled, share)

    def _run(self, inputs: Tensor, wanted: set[int], progress: float) -> dict[int, Tensor]:
        """Hidden states that leave the `wanted` layers and the last, with layer dropout."""
        windows, length = inputs.shape
        hidden = self._model.embed(inputs.flatten())
        rows = PackedBatch(length, self._model.rotary, hidden)
        states = {}
        for index, layer in enumerate(self._model.layers):
            rate = dropout_rate(self._settings, index, self._num_layers, progress)
            kept = torch.rand(windows) >= rate
            if bool(kept.all()):
                hidden = layer(hidden, rows)
            elif bool(kept.any()):
                chosen = kept.repeat_interleave(length).to(hidden.device)
                part = hidden[chosen]
                ran = layer(part, PackedBatch(length, self._model.rotary, part))
                hidden = hidden.masked_scatter(chosen[:, None], ran)
            if index in wanted:
                states[index] = hidden
        return {**states, self._num_layers - 1: hidden}
