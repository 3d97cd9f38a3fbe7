"""Shadow tokens: what every layer would have predicted where it has computed a state anyway.

DEL, section 3.1. A position counts up to and including the first rejected draft: those after it
were conditioned on a token that is not in the text.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dynexit.decoding.records import ShadowTokens
from dynexit.decoding.requests import Steps, Unembed
from dynexit.decoding.sampling import Sampler
from dynexit.model.text_tokens import TextTokens


def gather_states(
    early: Tensor | None, late: Sequence[Tensor], n: int, layers: Sequence[int]
) -> Tensor:
    """States that left `layers` at the first n positions of a round, [len(layers), n, D].

    Args:
        early: the states [d + 1, E, D] that left layers 1..E, as drafting made them.
        late: the states [d + 1, D] that left layers E+1..L, as verification made them.
    """
    drafted = 0 if early is None else early.shape[1]
    parts = [late[layer - drafted - 1][:n] for layer in layers if layer > drafted]
    if early is not None:
        parts = [early[:n, layer - 1] for layer in layers if layer <= drafted] + parts
    return torch.stack(parts)


def shadow_tokens(
    states: Tensor,
    layers: tuple[int, ...],
    chosen: Sequence[int],
    sampler: Sampler,
    drafts: Sequence[int],
    first: int = 0,
    limit: int | None = None,
    text_tokens: TextTokens | None = None,
) -> Steps[ShadowTokens]:
    """Unembed states [len(layers), n, D] and compare with what the target chose there.

    Args:
        chosen: what the target would choose at each; under speculative acceptance, where tokens
            are drawn, what it would choose with the noise that all layers share.
        drafts: the accepted drafts, context of the positions after them.
        first: the position of the first of them, relative to the sampler's next token.
        limit: the exits read so many tokens of the head,
        text_tokens: and these.
    """
    count, n, size = states.shape
    rows = states.reshape(count * n, size)
    logits = yield Unembed(rows, sampler.best_only, limit, text_tokens=text_tokens)
    tokens, confidence = sampler.shadow(logits, count, drafts, first)
    if np.isnan(confidence).any():  # `nan_to_num` alone takes ten times as long
        confidence = np.nan_to_num(confidence)
    return ShadowTokens(tokens == np.array(chosen), confidence, layers)
