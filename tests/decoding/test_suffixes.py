"""The index of a text's own places: the longest match, the latest of equals."""

from hypothesis import given
from hypothesis import strategies as st

from dynexit.decoding.suffixes import LONGEST, Suffixes

TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=20)


@given(TOKENS)
def test_it_finds_the_longest_match_and_of_those_the_latest(tokens):
    suffixes = Suffixes(tokens)
    place, match = suffixes.find()
    lengths = {end: common(tokens, end) for end in range(1, len(tokens))}
    assert match == max(lengths.values(), default=0)
    if match:
        assert place == max(end for end, length in lengths.items() if length == match)


def common(tokens, end):
    length = 0
    while length < min(end, LONGEST) and tokens[end - 1 - length] == tokens[-1 - length]:
        length += 1
    return length


@given(TOKENS, TOKENS)
def test_growing_the_text_is_indexing_it_anew(first, more):
    grown = list(first)
    suffixes = Suffixes(grown)
    for token in more:
        suffixes.find()
        grown.append(token)
    fresh = Suffixes([*first, *more])
    assert suffixes.find() == fresh.find()


def test_what_comes_after_goes_round_in_a_repetition():
    suffixes = Suffixes([5, 1, 2, 3, 1, 2, 3])
    assert suffixes.find() == (4, 3)
    assert suffixes.after(4, 7) == [1, 2, 3, 1, 2, 3, 1]


def test_a_new_token_has_no_place():
    suffixes = Suffixes([1, 2, 1, 9])
    assert suffixes.find()[1] == 0
