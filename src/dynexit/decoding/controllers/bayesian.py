"""Which set of sublayers to try next, by what is known of others: Bayesian optimisation.

A Gaussian process over the switches of all sublayers, and the expected improvement over the best
result so far (Snoek et al. 2012). Two matrices and a solve: a library takes seconds to load.
"""

import random
from collections.abc import Sequence
from math import erf

import numpy as np
from numpy.typing import NDArray

from dynexit.model.skips import Skips

CANDIDATES = 256  # random sets that are compared, and as many beside the best set
SWAPS = 4  # sublayers that the latter exchange, at most
MEMORY = 256  # results that count: the newest
NOISE = 0.5  # of the results' variance: they are counts over a few tokens


def propose(
    tried: Sequence[tuple[Skips, float]],
    inner: Sequence[int],
    draw: random.Random,
    any_size: bool = False,
) -> Skips:
    """The set that should improve the most on the best one tried.

    Args:
        tried: sets and their results, two or more; higher is better.
        inner: the sublayers that may be left out.
        any_size: whether the set may be larger or smaller than the best one.
    """
    best = max(tried, key=lambda one: one[1])[0]
    candidates = []
    for _ in range(CANDIDATES):
        size = draw.randint(1, len(inner)) if any_size else len(best.sublayers)
        candidates.append(draw.sample(inner, size))
        candidates.append(_switched(best, inner, draw) if any_size else _beside(best, inner, draw))
    sets = [Skips.of(len(best), sublayers) for sublayers in candidates]
    gains = _expected_gains(tried[-MEMORY:], sets, max(score for _, score in tried))
    return sets[int(gains.argmax())]


def _beside(best: Skips, inner: Sequence[int], draw: random.Random) -> list[int]:
    """The best set with some of its sublayers exchanged for others."""
    out = set(best.sublayers)
    kept = [sublayer for sublayer in inner if sublayer not in out]
    count = min(draw.randint(1, SWAPS), len(out), len(kept))
    return [*out - {*draw.sample(sorted(out), count)}, *draw.sample(kept, count)]


def _switched(best: Skips, inner: Sequence[int], draw: random.Random) -> list[int]:
    """The best set with some sublayers added or taken away."""
    some = draw.sample(inner, min(draw.randint(1, SWAPS), len(inner)))
    return [*{*best.sublayers} ^ {*some}]


def _expected_gains(
    tried: Sequence[tuple[Skips, float]], sets: Sequence[Skips], best: float
) -> NDArray[np.float64]:
    """Expected improvement on `best`, of each set."""
    known, results = _switches([one for one, _ in tried]), np.array([score for _, score in tried])
    new, spread = _switches(sets), results.std() + 1e-9
    own = _alike(known, known) + NOISE * np.eye(len(known))
    others = _alike(new, known)
    mean = results.mean() + others @ np.linalg.solve(own, results - results.mean())
    certain = (others * np.linalg.solve(own, others.T).T).sum(1)
    deviation = spread * np.sqrt(np.maximum(1 - certain, 0))
    ahead = mean - best
    score = ahead / np.maximum(deviation, 1e-9)
    density = np.exp(-(score**2) / 2) / np.sqrt(2 * np.pi)
    below = (1 + np.vectorize(erf)(score / np.sqrt(2))) / 2
    return np.asarray(ahead * below + deviation * density)


def _alike(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Matern kernel, nu 5/2, of sets [n, 2L] and [m, 2L]: [n, m]."""
    apart = some.sum(1)[:, None] + others.sum(1) - 2 * some @ others.T
    far = np.sqrt(5 * np.maximum(apart, 0) / (some.shape[1] / 4))
    return np.asarray((1 + far + far**2 / 3) * np.exp(-far))


def _switches(sets: Sequence[Skips]) -> NDArray[np.float64]:
    """[sets, 2L]: 1 where a sublayer is left out."""
    found = np.zeros((len(sets), 2 * len(sets[0])))
    for row, one in enumerate(sets):
        found[row, list(one.sublayers)] = 1
    return found
