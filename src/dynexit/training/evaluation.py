"""Held-out loss and agreement of every exit, per domain."""

import math
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Literal

import numpy as np
import torch

from dynexit.model.probe import read_layers
from dynexit.model.transformer import Transformer

TOKENS = 4_096  # of every domain: evaluation stays quick


@dataclass(frozen=True)
class HeldOut:
    """A domain's held-out tokens, as windows, and how many bytes of text a token stands for."""

    windows: list[torch.Tensor]
    bytes_per_token: float

    @classmethod
    def of(cls, documents: list[np.ndarray[Any, Any]], texts: list[str], window: int) -> "HeldOut":
        """Windows of `window` tokens over the first of `documents`, one after the other."""
        tokens = torch.from_numpy(np.concatenate(documents)).long()
        size = sum(len(text.encode()) for text in texts)
        windows = [w for w in tokens[:TOKENS].split(window) if len(w) > 1]
        return cls(windows, size / len(tokens))


@dataclass(frozen=True)
class DomainReport:
    """Per exit layer 1..L: bits per byte of held-out text, and agreement with the last layer. Of a
    masked-diffusion model, per mask of a block: bits per byte, and agreement with the text.
    """

    bits_per_byte: list[float]
    agreement: list[float]
    unit: Literal["layer", "mask"] = "layer"


def evaluate(model: Transformer, text: HeldOut) -> DomainReport:
    """Read every layer's predictions of the held-out windows."""
    windows = (window.to(model.device) for window in text.windows)
    readings = reduce(add, (read_layers(model, window) for window in windows))
    bits = math.log(2) * readings.positions * text.bytes_per_token
    return DomainReport([nats / bits for nats in readings.nats], readings.agreement)
