"""The sequences of a batch: written in passes that they share, then laid side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.job import Job
from dynexit.decoding.limits import Limits
from dynexit.decoding.sampling_parameters import Acceptance, Sampling
from dynexit.decoding.scheduler import Scheduler
from dynexit.decoding.sequence import Decoding
from dynexit.decoding.together import generate_together
from dynexit.errors import DynexitError
from dynexit.integrations.transformers.choosing import Processing, ProcessorsChooser
from dynexit.integrations.transformers.ending import Ending
from dynexit.methods import make_controller
from dynexit.model.interface import Described, Model
from dynexit.preparing import Known, open_decoding


@dataclass(frozen=True)
class Row:
    """One sequence of a batch: its own tokens, how tokens are chosen after them, what ends it."""

    prompt: list[int]
    sampling: Sampling
    processing: Processing
    criteria: Any


@dataclass(frozen=True)
class Writing:
    """What all sequences of a batch share."""

    runtime: Model
    second: Described | None
    method: str | Controller
    streamer: Any
    max_new_tokens: int

    def write(self, rows: Sequence[Row]) -> list[Decoding]:
        """All sequences, finished: together, unless one controller is there for all of them.

        Raises:
            DynexitError: a prompt that is longer than the context, or an unknown method.
        """
        alone = isinstance(self.method, Controller)
        groups = [[row] for row in rows] if alone else [rows]
        texts = []
        for group in groups:
            started = [self._start(row) for row in group]
            generate_together(started, Scheduler(self.runtime, batched=True))
            texts += started
        return texts

    def _start(self, row: Row) -> Decoding:
        prompt, processing = row.prompt, row.processing
        limits = Limits(self.max_new_tokens, self.runtime.config.max_positions)
        if len(prompt) > limits.max_positions:
            raise DynexitError(
                f"a prompt has {len(prompt)} tokens, but the model's context holds "
                f"{limits.max_positions}: shorten it."
            )
        before = [*processing.padding, *prompt]
        ending = Ending(before, row.criteria, self.streamer, processing.device)
        job = Job(prompt, limits, row.sampling, ending, self.second)
        # no table: whether one is of these weights, a model in memory does not say
        controller = make_controller(self.method)
        text = open_decoding(self.runtime, controller, job, Known(lambda: prompt))
        text.sampler = ProcessorsChooser(row.sampling, text.tokens, processing, ending)
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
