"""Log-probabilities of a text's tokens under the target, before any processor."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynexit.decoding.requests import Steps, Unembed

SCORED_ROWS = 128  # of a prompt, at a time: logits take four bytes for each token of the vocabulary


@dataclass(frozen=True)
class TokenLogprobs:
    """A token's natural log-probability, and those of the likeliest tokens in its place."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


def token_logprobs(logits: Tensor, tokens: Sequence[int], alternatives: int) -> list[TokenLogprobs]:
    """Log-probabilities of `tokens` under the first rows of the target's logits [n, V].

    Args:
        alternatives: how many of the likeliest tokens to name; 0 is none.
    """
    rows = logits[: len(tokens)]
    normal = rows.to(torch.promote_types(rows.dtype, torch.float32)).log_softmax(-1)
    own = normal.gather(-1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0].tolist()
    top = normal.topk(min(alternatives, normal.shape[-1]), dim=-1)
    return [
        TokenLogprobs(token, logprob, tuple(zip(ids, values, strict=True)))
        for token, logprob, ids, values in zip(
            tokens, own, top.indices.tolist(), top.values.tolist(), strict=True
        )
    ]


def following_logprobs(
    hidden: Tensor, following: Sequence[int], alternatives: int
) -> Steps[list[TokenLogprobs]]:
    """Log-probabilities of the tokens that follow the first of the states [n, D]."""
    scored: list[TokenLogprobs] = []
    for start in range(0, len(following), SCORED_ROWS):
        tokens = following[start : start + SCORED_ROWS]
        logits = yield Unembed(hidden[start : start + len(tokens)])
        scored += token_logprobs(logits, tokens, alternatives)
    return scored
