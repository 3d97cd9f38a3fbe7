"""Imagined drafts: the native library and Python have the same rules."""

from random import Random

import pytest

from dynexit.decoding.imagining import DRAWN, Chances
from dynexit.model.drafting_rule import Pricing
from dynexit.model.native.binding import runtimes
from dynexit.model.native.imagining import imagine


def random_case(seed: int) -> tuple[Chances, Pricing]:
    chance = Random(seed)
    parts, ranks = chance.choice([1, 10]), chance.randint(1, 3)
    ends = sorted(chance.random() for _ in range(parts - 1))
    odds = [[chance.random() / rank for _ in range(parts)] for rank in range(1, ranks + 1)]
    rows = sorted(chance.uniform(0, 0.4) for _ in range(chance.randint(0, 24)))
    levels = tuple(chance.uniform(0, 0.6) for _ in range(chance.randint(0, 16)))
    pricing = Pricing(tuple(map(tuple, odds)), tuple(rows), levels)
    return Chances(tuple(odds[0]), [*ends, 1.0]), pricing


@pytest.mark.skipif(not runtimes(), reason="needs the native library")
def test_the_library_imagines_what_python_does():
    grown = 0
    for seed in range(500):
        chances, pricing = random_case(seed)
        sums = chances._sums(pricing)
        assert imagine(pricing, chances.ends, DRAWN) == pytest.approx(sums, rel=1e-12)
        grown += sums[0] > sums[2]
    assert grown > 100  # of them branch
