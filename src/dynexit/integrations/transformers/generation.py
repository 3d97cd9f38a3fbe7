"""What transformers' `generate` calls in the place of its own decoding loop."""

import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationMixin
from transformers.generation.utils import GenerateDecoderOnlyOutput

from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.loop import generate
from dynexit.decoding.records import Statistics
from dynexit.decoding.sampling import Acceptance, Sampling
from dynexit.decoding.sequence import Limits
from dynexit.decoding.sequence import Sequence as Decoding
from dynexit.errors import DynexitError
from dynexit.integrations.transformers.choosing import Processing, ProcessorsChooser
from dynexit.integrations.transformers.ending import Ending
from dynexit.integrations.transformers.refusals import (
    prompts_of,
    refuse_arguments,
    refuse_model,
    refuse_processors,
    refuse_settings,
)
from dynexit.integrations.transformers.runtimes import runtime_of
from dynexit.methods import make_controller
from dynexit.model.interface import Model


@dataclass
class SpeculativeOutput(GenerateDecoderOnlyOutput):  # type: ignore[misc]  # no types there
    """With `return_dict_in_generate`: `sequences` [B, T], and the counters of each."""

    statistics: list[Statistics] | None = None


@dataclass(frozen=True)
class Job:
    """What all sequences of a batch share."""

    runtime: Model
    second: Model | None
    method: str | Controller
    criteria: Any
    streamer: Any
    max_new_tokens: int

    def write(self, prompt: list[int], sampling: Sampling, processing: Processing) -> Decoding:
        """One sequence, finished."""
        before = [*processing.padding, *prompt]
        ending = Ending(before, self.criteria, self.streamer, processing.device)
        limits = Limits(self.max_new_tokens, self.runtime.config.max_positions)
        if len(prompt) > limits.max_positions:
            raise DynexitError(
                f"a prompt has {len(prompt)} tokens, but the model's context holds "
                f"{limits.max_positions}: shorten it."
            )
        text = Decoding(
            *(self.runtime, prompt, make_controller(self.method), sampling, limits, ending),
            self.second,
        )
        text.chooser = ProcessorsChooser(sampling, text.tokens, processing)
        for _ in generate(text):
            pass
        return text


def generate_hf(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any = None,
    stopping_criteria: Any = None,
    generation_config: Any = None,
    streamer: Any = None,
    *,
    method: str | Controller = "del",
    draft_model: Any = None,
    seed: int | None = None,
    acceptance: Acceptance = "shared-noise",
    **model_kwargs: Any,
) -> Tensor | SpeculativeOutput:
    """Decode speculatively inside `model.generate(..., custom_generate=dynexit.generate_hf)`.

    Greedy text is what plain `generate` writes. Sampled text is what `method="vanilla"` writes with
    the same seed, distributed as plain `generate`'s.

    Args:
        input_ids: [B, T], padded on the left.
        method: a method's name, with settings if any ("layerskip:exit_layer=3"), or a controller.
        draft_model: a smaller model of transformers with the same vocabulary, for "two-model".
        seed: of the first row; the next row's is one more. None takes one from torch's generator.
        acceptance: shared-noise or speculative, when sampling.

    Returns:
        [B, T + new], padded on the right; with `return_dict_in_generate` a `SpeculativeOutput`.

    Raises:
        DynexitError: anything that cannot be done as asked, by name.
    """
    kept_back = _kept_back()
    streamer = kept_back.get("streamer") if streamer is None else streamer
    refuse_model(model)
    refuse_settings(generation_config, kept_back.get("assistant_model"))
    refuse_arguments(model_kwargs)
    refuse_processors(logits_processor, str(method), len(input_ids))
    if streamer is not None and len(input_ids) > 1:
        raise DynexitError("a streamer takes one prompt: texts of a batch do not advance together.")
    mask, positions = (model_kwargs.get(name) for name in ("attention_mask", "position_ids"))
    prompts = prompts_of(input_ids, mask, positions)
    runtime = runtime_of(model)
    job = Job(
        runtime,
        None if draft_model is None else _second(draft_model, runtime),
        method,
        stopping_criteria,
        streamer,
        generation_config.max_length - input_ids.shape[1],
    )
    samplings = _samplings(generation_config.do_sample, len(prompts), seed, acceptance)
    texts = []
    for index, (prompt, sampling) in enumerate(zip(prompts, samplings, strict=True)):
        padding = input_ids[index, : input_ids.shape[1] - len(prompt)].tolist()
        row = Processing(logits_processor, padding, index, len(prompts), input_ids.device)
        texts.append(job.write(prompt, sampling, row))
    if streamer is not None:
        streamer.end()
    sequences = _joined(input_ids, [text.new_tokens for text in texts], generation_config)
    if not generation_config.return_dict_in_generate:
        return sequences
    return SpeculativeOutput(sequences=sequences, statistics=[text.stats for text in texts])


def _kept_back() -> dict[str, Any]:
    """Arguments that `generate` does not pass on to a function: read where it keeps them.

    A streamer that is never told of the end would leave its reader waiting for ever.
    """
    code = inspect.unwrap(GenerationMixin.generate).__code__
    frame = sys._getframe(1)
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back  # type: ignore[assignment]  # None at the top
    return {} if frame is None else dict(frame.f_locals)


def _second(draft_model: Any, target: Model) -> Model:
    second = runtime_of(draft_model)
    if second.choosable != target.choosable:
        raise DynexitError(
            f"draft_model has {second.choosable} tokens and the model {target.choosable}: it needs "
            "the same vocabulary."
        )
    return second


def _samplings(
    sampled: bool, count: int, seed: int | None, acceptance: Acceptance
) -> list[Sampling]:
    """One for each row: a temperature is a processor here, so it is 1 or, for greedy, 0."""
    if not sampled:
        return [Sampling()] * count
    first = int(torch.randint(2**31, ())) if seed is None else seed
    return [Sampling(1.0, seed=first + row, acceptance=acceptance) for row in range(count)]


def _joined(ids: Tensor, texts: Sequence[Sequence[int]], config: Any) -> Tensor:
    """Prompts and texts, [B, T + longest]."""
    pad = getattr(config, "_pad_token_tensor", None)
    fill = 0 if pad is None else int(pad)
    longest = max(map(len, texts))
    rows = [[*text, *[fill] * (longest - len(text))] for text in texts]
    return torch.cat((ids, torch.tensor(rows, dtype=ids.dtype, device=ids.device)), dim=1)
