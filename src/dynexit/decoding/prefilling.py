"""Reads a prompt, all or what no earlier text had of it, and chooses the first token."""

from typing import cast

import torch
from torch import Tensor

from dynexit.decoding.logprobs import following_logprobs
from dynexit.decoding.records import ShadowTokens
from dynexit.decoding.requests import Segment, Steps, Turn, Unembed
from dynexit.decoding.sampling import NO_TOKEN, NotNumbersError
from dynexit.decoding.shadow import shadow_tokens
from dynexit.decoding.state import Chunk, State
from dynexit.model.interface import BLOCK, SavedCache, Span

PREFILL_ROWS = 256  # more are somewhat faster, but their activations take as much more memory


def prefill(text: State) -> Steps[list[Chunk]]:
    """Run the prompt and choose the first token."""
    job, began = text.job, text.job.clock()
    states: list[Tensor] = []
    wanted = text.controller.prompt_positions if text.shadow_layers else 0
    start = yield from _recall(text, wanted)
    for stop in _chunk_ends(start, len(text.tokens)):
        hidden = text.model.embed(text.tokens[start:stop])
        span, last = Span(text.cache, start, stop - start), stop == len(text.tokens)
        taps = states if wanted and last else None
        hidden = yield Segment(hidden, span, 0, text.depth, taps, wanted + 1)
        if job.prompt_logprobs:
            following = text.tokens[start + 1 : stop + 1]
            scored = yield from following_logprobs(hidden, following, job.logprobs or 0)
            text.prompt_logprobs += scored
        start = stop
    chunks: list[Chunk] = []
    if text.limits.max_new_tokens:
        chunks = yield from _first(text, hidden, states)
    else:  # only the prompt is read
        text.cache.length, text.finish_reason = len(text.tokens) - 1, "length"
    text.remember()
    text.stats.prefill_seconds = job.clock() - began
    return chunks


def _first(text: State, hidden: Tensor, states: list[Tensor]) -> Steps[list[Chunk]]:
    """Choose the first token, and let controller and drafters read the prompt."""
    logits = yield Unembed(hidden[-1:], text.best_only)
    if (token := text.sampler.judge(logits)[0]) == NO_TOKEN:
        raise NotNumbersError(text.sampler.restricted)
    if states and len(states[0]) > 1:
        text.controller.observe_prompt((yield from _prompt_shadow(text, states)))
    for drafter in text.drafters.values():
        yield from drafter.prefill(text)
    return text.commit([], token, ["target"], logits)


def _recall(text: State, wanted: int) -> Steps[int]:
    """Restore the prompt's prefix from the prefix cache, except the last token and those whose
    hidden states are needed. Returns the number of restored positions.
    """
    reuse, fresh = text.job.reuse, len(text.tokens) - 1 - wanted
    known = reuse.prefixes
    if known is None or text.job.prompt_logprobs or not text.whole or fresh < BLOCK:
        return 0
    yield Turn()
    found = known.restore(cast(SavedCache, text.cache), text.tokens[:fresh], reuse.salt)
    text.stats.cached_tokens = found
    return found


def _prompt_shadow(text: State, states: list[Tensor]) -> Steps[ShadowTokens]:
    """Shadow tokens of the prompt's last positions but the very last."""
    rows = [state[:-1] for state in states]
    count, layers = rows[0].shape[0], text.shadow_layers
    target = yield Unembed(rows[-1], text.sampler.best_only)
    chosen = text.sampler.shadow(target, 1, (), -count)[0][0].tolist()
    gathered = torch.stack([rows[layer - 1] for layer in layers])
    return (
        yield from shadow_tokens(
            *(gathered, layers, chosen, text.sampler, (), -count),
            *(text.draft_vocabulary, text.text_tokens),
        )
    )


def _chunk_ends(start: int, length: int) -> list[int]:
    """Ends of the prefill's passes from `start` on, of equal length: long enough not to share a
    pass with other sequences' rounds. The last one has the rows whose states seed the controller.
    """
    passes = -(-(length - start) // PREFILL_ROWS)
    return [start + (length - start) * (index + 1) // passes for index in range(passes)]
