"""DiffuSpec's search for a path (Li et al. 2025, arXiv 2510.02358) through a lattice: the tokens
that a masked-diffusion model finds likely at each position, without knowing those beside it.

k positions, V vocabulary.
"""

from collections.abc import Callable, Iterable, Sequence
from heapq import nlargest

import torch
from torch import Tensor

Candidates = list[tuple[int, float]]  # of a position: tokens and what each adds to a path's score
Chances = Callable[[tuple[int, ...], Sequence[int]], list[float]]


def lattice_of(
    logits: Tensor, noise: Tensor | None, mass: float, most: int, weight: float
) -> list[Candidates]:
    """Of each position, the fewest tokens that have `mass` together, `most` at most. A token adds
    `weight` times its log-probability. With noise, the likeliest are meant that have it, and it is
    added, too. Positions from the first on whose logits are not numbers are left out.

    Args:
        logits: [k, V].
        noise: what the sampler adds to logits, [k, V]; None for greedy decoding.
    """
    known = logits.amax(-1).isfinite()
    count = len(known) if bool(known.all()) else int(known.logical_not().nonzero()[0, 0])
    logits = logits[:count]
    own = weight * logits.log_softmax(-1)
    scores = logits
    if noise is not None:
        own, scores = own + noise[:count], logits + noise[:count]
    likely, tokens = scores.softmax(-1).topk(min(most, logits.shape[-1]))
    sizes = (likely.cumsum(-1) - likely < mass).logical_and(likely > 0).sum(-1).tolist()
    rows = zip(tokens.tolist(), own.gather(-1, tokens).tolist(), sizes, strict=True)
    return [[*zip(found[:size], scored[:size], strict=True)] for found, scored, size in rows]


def best_paths(
    lattice: Iterable[Candidates],
    before: Sequence[int],
    chances: Chances,
    weight: float,
    beam: int,
    ends: frozenset[int] = frozenset(),
) -> list[list[int]]:
    """The `beam` best paths, the best first, by a beam search. A path ends with the lattice, or
    with a token of `ends` if it is the best one then.

    Args:
        before: the text's last two tokens.
        chances: log-probabilities of tokens after two others, which count `weight` times.
    """
    kept: list[tuple[float, list[int]]] = [(0.0, [])]
    for candidates in lattice:
        tokens = [token for token, _ in candidates]
        grown = []
        for score, path in kept:
            last = tuple([*before, *path[-2:]][-2:])
            following = chances(last, tokens) if weight else [0.0] * len(tokens)
            for (token, own), chance in zip(candidates, following, strict=True):
                grown.append((score + own + weight * chance, [*path, token]))
        kept = nlargest(beam, grown, key=lambda one: one[0])
        if kept[0][1][-1] in ends:
            return [kept[0][1]]
        kept = [one for one in kept if one[1][-1] not in ends]
    return [path for _, path in kept if path]


def without_token(logits: Tensor, token: int) -> Tensor:
    """Logits [k, V] of which one token is never chosen."""
    if token >= logits.shape[-1]:
        return logits
    return logits.index_fill(-1, torch.tensor([token], device=logits.device), -torch.inf)
