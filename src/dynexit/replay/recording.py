"""Records a trace: plain greedy text, then every layer's reading of it, teacher forced."""

import numpy as np
import torch
from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.language_model import LanguageModel, Prompt
from dynexit.model.interface import Span
from dynexit.replay.trace import TracedText, TraceInfo

PROMPT_POSITIONS = 64  # of the prompt that are read as well, for controllers that learn from it
ROWS = 256  # read at once


def trace_info(lm: LanguageModel, draft_vocabulary: int) -> TraceInfo:
    """What a trace of this model says of itself.

    Raises:
        DynexitError: a model of one layer, which has no exits.
    """
    if lm.num_layers < 2:
        raise DynexitError(f"{lm.name} has one layer, so no exits to trace.")
    config = lm.model.config
    trimmed = min(draft_vocabulary, lm.model.choosable)
    return TraceInfo(
        *(lm.name, lm.num_layers, lm.model.choosable, config.max_positions, trimmed),
        tuple(sorted(lm.eos)),
    )


@torch.inference_mode()
def record_text(
    lm: LanguageModel, name: str, prompt: Prompt, new_tokens: int, draft_vocabulary: int
) -> TracedText:
    """Trace one prompt's text. An EOS that ended it is its last token.

    Raises:
        DynexitError: as `LanguageModel.generate`.
    """
    ids = lm.prompt_tokens(prompt)
    output = lm.generate(ids, "vanilla", max_new_tokens=new_tokens)
    tokens = [*ids, *output.token_ids]
    first, model = max(0, len(ids) - 1 - PROMPT_POSITIONS), lm.model
    states: list[Tensor] = []
    cache, read = model.new_cache(), min(len(tokens), model.config.max_positions)
    for start in (0, first) if first else (0,):
        stop = first if start < first else read
        rows = model.rows([Span(cache, start, stop - start)])
        taps = states if start == first else None
        model.run_layers(model.embed(tokens[start:stop]), rows, 0, lm.num_layers, taps)
    layers = [_read_layer(lm, state, draft_vocabulary) for state in states]
    best, confidence, trimmed, trimmed_confidence = (
        np.stack(part) for part in zip(*layers, strict=True)
    )
    tokens.append(int(best[-1, -1, 0]))  # the target's next, or the EOS
    return TracedText(
        *(name, len(ids), first, np.array(tokens[: read + 1], np.int32)),
        *(best, confidence, trimmed, trimmed_confidence),
    )


def _read_layer(lm: LanguageModel, state: Tensor, limit: int) -> tuple[np.ndarray, ...]:
    """Two best tokens [P, 2] and probabilities, and the best of the first `limit` tokens."""
    parts = []
    for rows in state.split(ROWS):
        logits = lm.model.unembed(rows).float()
        top = _lowest_first(logits)
        short = logits[:, :limit]
        kept = short.argmax(-1)
        sure = (short.gather(-1, kept[:, None])[:, 0] - short.logsumexp(-1)).exp()
        chances = (logits.gather(-1, top) - logits.logsumexp(-1, keepdim=True)).exp()
        parts.append((top.int(), chances, kept.int(), sure))
    return tuple(torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))


def _lowest_first(logits: Tensor) -> Tensor:
    """Ids [P, 2] of the two best logits; of equals the lower id first, as decoding chooses."""
    best = logits.argmax(-1, keepdim=True)
    others = logits.scatter(-1, best, -torch.inf)
    return torch.cat((best, others.argmax(-1, keepdim=True)), -1)
