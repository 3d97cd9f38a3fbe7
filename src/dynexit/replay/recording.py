"""Records a trace: plain greedy text, then every layer's reading of it, teacher forced."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.language_model import LanguageModel, Prompt
from dynexit.model.interface import Span
from dynexit.replay.trace import BEST, TracedText, TraceInfo

PROMPT_POSITIONS = 64  # of the prompt that are read as well, for controllers that learn from it
ROWS = 256  # read at once


def trace_info(lm: LanguageModel, draft_vocabulary: int | None = None) -> TraceInfo:
    """What a trace of this model says of itself.

    Args:
        draft_vocabulary: tokens that early exits choose among; None is as many as in decoding.

    Raises:
        DynexitError: a model of one layer, which has no exits.
    """
    if lm.num_layers < 2:
        raise DynexitError(f"{lm.name} has only one layer, so it has no early exits to trace.")
    config = lm.model.config
    usual = lm.model.draft_tokens.usual(lm.model.vocabulary_size)
    trimmed = min(draft_vocabulary or usual, lm.model.vocabulary_size)
    return TraceInfo(
        *(lm.name, lm.num_layers, lm.model.vocabulary_size, config.max_positions, trimmed),
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
    """Best tokens [P, BEST] and probabilities, and those among the `limit` that drafts read."""
    parts = []
    for rows in state.split(ROWS):
        every, some = (lm.model.unembed(rows, most).float() for most in (None, limit))
        parts.append((*_best(every), *_best(some)))
    return tuple(torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))


def _best(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Ids [P, BEST] of the best logits, of equals at the top the lowest first, as decoding chooses,
    and their probabilities; 0 twice where there are fewer tokens.
    """
    best = logits.argmax(-1, keepdim=True)
    others = logits.scatter(-1, best, -torch.inf).topk(min(BEST, logits.shape[-1]) - 1)
    ids = torch.cat((best, others.indices), -1)
    chances = (logits.gather(-1, ids) - logits.logsumexp(-1, keepdim=True)).exp()
    room = (0, BEST - ids.shape[-1])
    return F.pad(ids, room).int(), F.pad(chances, room)
