"""The function that transformers' `generate` calls instead of its own decoding loop."""

import inspect
import sys
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import GenerationMixin
from transformers.generation.utils import GenerateDecoderOnlyOutput

from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.sampling_parameters import Acceptance, Sampling
from dynexit.decoding.sequence import Decoding
from dynexit.decoding.statistics import Statistics
from dynexit.errors import DynexitError
from dynexit.integrations.transformers.choosing import Processing
from dynexit.integrations.transformers.refusals import (
    prompts_of,
    refuse_arguments,
    refuse_length,
    refuse_model,
    refuse_settings,
    refuse_tokens,
)
from dynexit.integrations.transformers.runtimes import runtime_of
from dynexit.integrations.transformers.states import own_copies
from dynexit.integrations.transformers.writing import Row, Writing, joined, samplings
from dynexit.methods import DEFAULT_METHOD
from dynexit.model.interface import Described, Model


@dataclass
class SpeculativeOutput(GenerateDecoderOnlyOutput):  # type: ignore[misc]  # no types there
    """With `return_dict_in_generate`: `sequences` [B, T], and the counters of each."""

    statistics: list[Statistics] | None = None


def generate_hf(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any = None,
    stopping_criteria: Any = None,
    generation_config: Any = None,
    streamer: Any = None,
    *,
    method: str | Controller = DEFAULT_METHOD,
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
    if streamer is not None and len(input_ids) > 1:
        raise DynexitError(
            "a streamer works with one prompt only: give one, or leave the streamer out."
        )
    mask, positions = (model_kwargs.get(name) for name in ("attention_mask", "position_ids"))
    prompts = prompts_of(input_ids, mask, positions)
    runtime = runtime_of(model)
    second = None if draft_model is None else _second(draft_model, runtime)
    room = generation_config.max_length - input_ids.shape[1]
    refuse_tokens(prompts, runtime.vocabulary_size)
    refuse_length(model, max(map(len, prompts)) + room - 1)  # the last token is not read
    rules = samplings(generation_config.do_sample, len(prompts), seed, acceptance)
    rows = _rows(
        input_ids, list(zip(prompts, rules, strict=True)), logits_processor, stopping_criteria
    )
    texts = Writing(runtime, second, method, streamer, room).write(rows)
    if streamer is not None:
        streamer.end()
    return _output(generation_config, input_ids, texts)


def _rows(
    ids: Tensor, asked: list[tuple[list[int], Sampling]], processors: Any, criteria: Any
) -> list[Row]:
    """The sequences of a batch; where there are several, each has its own processors and criteria.

    Args:
        ids: [B, T], padded on the left.
        asked: each sequence's prompt without padding, and its sampling.
    """
    rows, batch, called = [], len(asked), (processors, criteria)
    for index, (prompt, sampling) in enumerate(asked):
        padding = ids[index, : ids.shape[1] - len(prompt)].tolist()
        chosen, ends = called if batch == 1 else map(own_copies, called)
        processing = Processing(chosen, padding, index, batch, ids.device)
        rows.append(Row(prompt, sampling, processing, ends))
    return rows


def _output(config: Any, ids: Tensor, texts: list[Decoding]) -> Tensor | SpeculativeOutput:
    """Prompts [B, T] with their texts, as the caller wants them."""
    pad = getattr(config, "_pad_token_tensor", None)
    sequences = joined(ids, [t.new_tokens for t in texts], 0 if pad is None else int(pad))
    if not config.return_dict_in_generate:
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


def _second(draft_model: Any, target: Model) -> Described:
    second = runtime_of(draft_model)
    if second.vocabulary_size != target.vocabulary_size:
        raise DynexitError(
            f"draft_model has {second.vocabulary_size} tokens but the model has "
            f"{target.vocabulary_size}: a draft model needs the same vocabulary."
        )
    return second
