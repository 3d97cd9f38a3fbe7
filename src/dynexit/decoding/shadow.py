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
from dynexit.decoding.sampling import Chooser


def gather_states(
    early: Sequence[Sequence[Tensor]], late: Sequence[Tensor], n: int, layers: int | None = None
) -> Tensor:
    """States that left layers 1..L-1 at the first n positions of a round, [L-1, n, D].

    Args:
        early: per position, the states [1, D] that left layers 1..E, as drafting made them.
        late: the states [d + 1, D] that left layers E+1..L, as verification made them.
        layers: no more than the first so many.
    """
    drafted = len(early[0]) if early else 0
    wanted = drafted + len(late) - 1 if layers is None else layers
    shallow, deep = min(drafted, wanted), max(wanted - drafted, 0)
    parts = [position[layer] for layer in range(shallow) for position in early[:n]]
    whole = [state[:n] for state in late[:-1][:deep]]
    return torch.cat((*parts, *whole)).view(shallow + len(whole), n, -1)


def shadow_tokens(
    states: Tensor,
    chosen: Sequence[int],
    chooser: Chooser,
    drafts: Sequence[int],
    first: int = 0,
    limit: int | None = None,
) -> Steps[ShadowTokens]:
    """Unembed states [L-1, n, D] and compare with what the target chose at these n positions.

    Args:
        chosen: what the target would choose at each; under speculative acceptance, where tokens
            are drawn, what it would choose with the noise that all layers share.
        drafts: the accepted drafts, context of the positions after them.
        first: the position of the first of them, relative to the chooser's next token.
        limit: the exits read so many tokens of the head.
    """
    layers, n, size = states.shape
    logits = yield Unembed(states.reshape(layers * n, size), chooser.best_only, limit)
    tokens, confidence = chooser.shadow(logits, layers, drafts, first)
    return ShadowTokens(tokens == np.array(chosen), confidence)
