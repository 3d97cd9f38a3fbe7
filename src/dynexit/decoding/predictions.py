"""Every layer's predictions at some positions of a known text, in one pass over it."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dynexit.decoding.prefilling import PREFILL_ROWS
from dynexit.decoding.requests import Segment, Steps, Unembed
from dynexit.decoding.sampling import Sampler
from dynexit.decoding.sampling_parameters import Sampling
from dynexit.model.interface import Model, Span

Predictions = tuple[NDArray[np.int64], NDArray[np.float32]]


def layer_predictions(
    model: Model, tokens: Sequence[int], start: int, count: int, limit: int | None = None
) -> Steps[Predictions]:
    """Best tokens, and their probabilities, in the place of `tokens[start : start + count]`.

    Args:
        start: at least 1: nothing predicts the first token.
        limit: all layers but the last read so many tokens of the head.

    Returns:
        Two of [L, n], n being `count` or as many tokens as there are from `start` on.
    """
    cache, depth = model.new_cache(), model.config.num_layers
    first, stop = start - 1, min(start + count, len(tokens)) - 1  # rows that predict
    states: list[Tensor] = []
    bounds = [*range(0, first, PREFILL_ROWS), first, stop]
    for begin, end in pairwise(bounds):
        if begin < end:
            span, taps = Span(cache, begin, end - begin), states if end == stop else None
            yield Segment(model.embed(tokens[begin:end]), span, 0, depth, taps)
    sampler, ids, likely = Sampler(Sampling(), tokens), [], []
    for layer, state in enumerate(states, start=1):
        logits = yield Unembed(state, True, limit if layer < depth else None)
        chosen, confidence = sampler.shadow(logits, 1, (), 0)
        ids.append(chosen[0])
        likely.append(confidence[0])
    return np.stack(ids), np.stack(likely)
