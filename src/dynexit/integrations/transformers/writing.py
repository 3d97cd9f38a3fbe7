"""The sequences of a batch: each written by itself, then laid side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.loop import generate
from dynexit.decoding.sampling import Acceptance, Sampling
from dynexit.decoding.sequence import Limits
from dynexit.decoding.sequence import Sequence as Decoding
from dynexit.errors import DynexitError
from dynexit.integrations.transformers.choosing import Processing, ProcessorsChooser
from dynexit.integrations.transformers.ending import Ending
from dynexit.methods import make_controller
from dynexit.model.interface import Model


@dataclass(frozen=True)
class Writing:
    """What all sequences of a batch share."""

    runtime: Model
    second: Model | None
    method: str | Controller
    criteria: Any
    streamer: Any
    max_new_tokens: int

    def write(self, prompt: list[int], sampling: Sampling, processing: Processing) -> Decoding:
        """One sequence, finished.

        Raises:
            DynexitError: a prompt that is longer than the context, or an unknown method.
        """
        limits = Limits(self.max_new_tokens, self.runtime.config.max_positions)
        if len(prompt) > limits.max_positions:
            raise DynexitError(
                f"a prompt has {len(prompt)} tokens, but the model's context holds "
                f"{limits.max_positions}: shorten it."
            )
        before = [*processing.padding, *prompt]
        ending = Ending(before, self.criteria, self.streamer, processing.device)
        controller = make_controller(self.method)
        text = Decoding(self.runtime, prompt, controller, sampling, limits, ending, self.second)
        text.chooser = ProcessorsChooser(sampling, text.tokens, processing)
        for _ in generate(text):
            pass
        return text


def samplings(
    sampled: bool, count: int, seed: int | None, acceptance: Acceptance
) -> list[Sampling]:
    """One for each row: a temperature is a processor here, so it is 1 or, for greedy, 0."""
    if not sampled:
        return [Sampling()] * count
    first = int(torch.randint(2**31, ())) if seed is None else seed
    return [Sampling(1.0, seed=first + row, acceptance=acceptance) for row in range(count)]


def joined(ids: Tensor, texts: Sequence[Sequence[int]], pad: int) -> Tensor:
    """Prompts [B, T] and what was written after each: [B, T + longest], padded on the right."""
    longest = max(map(len, texts))
    rows = [[*text, *[pad] * (longest - len(text))] for text in texts]
    return torch.cat((ids, torch.tensor(rows, dtype=ids.dtype, device=ids.device)), dim=1)
