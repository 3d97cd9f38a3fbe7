"""Averages and tables against dicts that are filled the slow way."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from made_texts import made_text

from dynexit.learning.averaging import BELIEF, average, places_of, table_of, worth

TEXTS = [made_text(seed) for seed in range(12)]
WIDTH = 3


def slowly(texts, order, shorter=None):
    """Context -> (places, token -> average), the shorter context's best `WIDTH` among it."""
    sums, counts = defaultdict(lambda: defaultdict(float)), defaultdict(int)
    for text in texts:
        for place, (tokens, chances) in enumerate(zip(*text.read, strict=True)):
            if place + 1 < order:
                continue
            context = tuple(text.tokens[place + 1 - order : place + 1])
            counts[context] += 1
            for token, chance in zip(tokens.tolist(), chances.tolist(), strict=True):
                sums[context][token] += chance
    found = {}
    for context, total in sums.items():
        belief = 0.0
        if shorter is not None:
            belief = BELIEF
            for token, chance in best(shorter[context[1:]][1]):
                total[token] += belief * chance
        weight = counts[context] + belief
        found[context] = counts[context], {t: value / weight for t, value in total.items()}
    return found


def best(averages):
    return sorted(averages.items(), key=lambda pair: -pair[1])[:WIDTH]


@pytest.fixture(scope="module")
def averages():
    return average(places_of(TEXTS), WIDTH)


def test_averages_are_those_of_all_places(averages):
    expected = None
    for order, level in enumerate(averages):
        expected = slowly(TEXTS, order, expected)
        assert {tuple(row) for row in level.contexts.tolist()} == expected.keys()
        for row, context in enumerate(map(tuple, level.contexts.tolist())):
            count, said = expected[context]
            assert level.counts[row] == count
            found = dict(zip(level.tokens[row].tolist(), level.chances[row].tolist(), strict=True))
            assert found == pytest.approx(dict(best(said)), abs=1e-6)


def test_the_shorter_context_is_the_one_without_the_first_token(averages):
    for before, level in pairwise(averages):
        assert (before.contexts[level.shorter] == level.contexts[:, 1:]).all()


def test_a_context_that_says_what_the_shorter_one_says_is_worth_nothing(averages):
    whole, first, second = averages[:3]
    same = second.shorter
    copied = type(second)(
        *(second.contexts, second.counts, first.tokens[same], first.chances[same], same)
    )
    assert worth([whole, first, copied])[1] == pytest.approx(0)
    surer = np.minimum(first.chances[same] * 1.5, 0.3)
    other = type(second)(second.contexts, second.counts, first.tokens[same], surer, same)
    assert (worth([whole, first, other])[1] > 0).mean() > 0.9


@pytest.mark.parametrize("size", [0, 12, 13, 200, 10**6])
def test_a_table_keeps_to_its_bytes_and_to_what_is_worth_most(averages, size):
    table = table_of(averages, size, 12)
    assert table.num_bytes <= size
    values = np.concatenate(worth(averages))
    assert len(table) == min(size // 13, (values > 0).sum())
    kept = [
        value
        for level, gains in zip(averages[1:], worth(averages), strict=True)
        for context, value in zip(level.contexts.tolist(), gains.tolist(), strict=True)
        if table.after(context)[0] == len(context)
    ]
    assert sorted(kept, reverse=True) == sorted(values, reverse=True)[: len(table)]


def test_a_large_vocabulary_has_wider_tokens(averages):
    assert table_of(averages, 10**6, 2**16).tokens.dtype == np.uint16
    assert table_of(averages, 10**6, 2**16 + 1).tokens.dtype == np.uint32
