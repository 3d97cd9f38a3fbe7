"""A table of successors against a dict that is read the slow way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynexit.decoding.successors import MOST, SuccessorTable, context_keys, to_bytes
from dynexit.errors import DynexitError

SOME = st.integers(0, 3) | st.integers(0, MOST - 1)
CHANCES = st.lists(st.floats(0.01, 1), min_size=1, max_size=4)
CONTEXTS = st.lists(SOME, min_size=1, max_size=3).map(tuple)


@st.composite
def learned(draw):
    contexts = draw(st.lists(CONTEXTS, unique=True, max_size=20))
    rows = [sorted(draw(CHANCES), reverse=True) for _ in contexts]
    return {
        context: [(draw(SOME), chance) for chance in row]
        for context, row in zip(contexts, rows, strict=True)
    }


def slowly(contexts, tail):
    for order in (3, 2, 1):
        context = tuple(tail[-order:])
        if len(context) == order and context in contexts:
            return order, contexts[context]
    return 0, []


@given(learned(), st.data())
def test_it_finds_the_longest_known_context(contexts, data):
    table = SuccessorTable.of(contexts)
    known = st.sampled_from(sorted(contexts)).map(list) if contexts else st.just([])
    tail = data.draw(st.lists(SOME, max_size=4)) + data.draw(known)
    for _ in range(2):  # the second time, what was read the first time
        order, found = table.after(tail)
        right, following = slowly(contexts, tail)
        assert order == right
        assert [token for token, _ in found] == [token for token, _ in following]
        stored = [chance for _, chance in found]
        assert stored == pytest.approx([chance for _, chance in following], abs=0.5 / 255 + 1e-9)


@given(st.lists(st.integers(), max_size=5))
def test_no_numbers_make_it_raise(tail):
    table = SuccessorTable.of({(1,): [(2, 0.5)]})
    assert table.after(tail) == ((1, ((2, 128 / 255),)) if tail[-1:] == [1] else (0, ()))


@given(st.lists(CONTEXTS, min_size=1, unique=True))
def test_keys_of_many_are_keys_of_each(contexts):
    for order in (1, 2, 3):
        same = [context for context in contexts if len(context) == order]
        if same:
            together = context_keys(np.array(same, np.uint32))
            assert together.tolist() == [context_keys(np.array([one]))[0] for one in same]


def test_no_two_tokens_of_the_largest_vocabulary_share_a_key():
    keys = np.sort(context_keys(np.arange(MOST, dtype=np.uint32)[:, None]))
    assert (keys[1:] > keys[:-1]).all()


def test_random_contexts_share_keys_as_rarely_as_chance_has_it():
    rng = np.random.default_rng(0)
    for order in (2, 3):
        contexts = np.unique(rng.integers(0, 300, (300_000, order)), axis=0)
        shared = len(contexts) - len(np.unique(context_keys(contexts)))
        expected = len(contexts) ** 2 / 2**33
        assert shared <= 2 * expected + 4


def test_a_context_of_fewer_successors_gives_no_more():
    table = SuccessorTable.of({(1,): [(2, 0.5), (3, 0.25)], (4,): [(5, 1.0)]})
    assert table.after([4]) == (1, ((5, 1.0),))
    assert len(table) == 2
    assert table.num_bytes == 2 * (4 + 2 * 5)


def test_a_probability_is_never_stored_as_none():
    assert to_bytes(np.array([0, 1e-9, 0.5, 1])).tolist() == [0, 1, 128, 255]


KEYS = np.array([1, 2], np.uint32)
TOKENS = np.zeros((2, 2), np.uint16)
CHANCE = np.full((2, 2), 9, np.uint8)


@pytest.mark.parametrize(
    ("keys", "tokens", "chances"),
    [
        (KEYS[::-1], TOKENS, CHANCE),
        (KEYS[[0, 0]], TOKENS, CHANCE),
        (KEYS[:1], TOKENS, CHANCE),
        (KEYS.astype(np.int64), TOKENS, CHANCE),
        (KEYS, TOKENS.astype(np.float32), CHANCE),
        (KEYS, TOKENS, CHANCE.astype(np.int32)),
        (KEYS, TOKENS, CHANCE[:, :1]),
        (KEYS, TOKENS[:, :0], CHANCE[:, :0]),
        (KEYS, TOKENS, np.array([[0, 0], [9, 9]], np.uint8)),
        (KEYS, TOKENS, np.array([[1, 2], [9, 9]], np.uint8)),
        (KEYS[0], TOKENS, CHANCE),
    ],
)
def test_arrays_that_are_no_table_are_refused(keys, tokens, chances):
    with pytest.raises(DynexitError):
        SuccessorTable(keys, tokens, chances)
