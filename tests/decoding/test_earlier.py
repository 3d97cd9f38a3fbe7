"""Earlier texts: what followed is found and counted as brute force has it, and no text changes."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import LLAMA, LOSSLESS, random_model

from dynexit import LanguageModel
from dynexit.decoding.earlier import BEFORE, BITS, GROUPS, EarlierTexts, added
from dynexit.decoding.facts import Facts
from dynexit.decoding.native_offer import NativePanel
from dynexit.decoding.offer import Panel
from dynexit.decoding.proposers import make_proposers
from dynexit.decoding.reuse import Reuse
from dynexit.decoding.scheduler import Scheduler
from dynexit.decoding.together import generate_together
from dynexit.model.native.earlier import NativeEarlier
from dynexit.model.native.proposing import functions
from dynexit.model.native.transformer import NativeTransformer

pytestmark = pytest.mark.skipif(functions() is None, reason="the native library is not built here")
TEXTS = st.lists(st.lists(st.integers(0, 3), max_size=14), max_size=6)
TAIL = st.lists(st.integers(0, 3), max_size=12)


def by_brute_force(texts, tail):
    """(length, counts) of all places; kept so small that none is left out."""
    best, counts = 0, Counter()
    for tokens in texts:
        for at in range(1, len(tokens)):
            length = 0
            while length < min(at, len(tail), 32) and tokens[at - 1 - length] == tail[-1 - length]:
                length += 1
            if length >= 3 and length >= best:
                counts = counts if length == best else Counter()
                best = length
                counts[tokens[at]] += 1
    return best, counts


def kept(texts, bits=10):
    store = NativeEarlier(bits)
    for tokens in texts:
        store.add(tokens)
    return store


@settings(max_examples=300)
@given(TEXTS, TAIL)
def test_what_followed_the_longest_match_is_counted(texts, tail):
    found, (length, counts) = kept(texts).find(tail), by_brute_force(texts, tail)
    assert found.length == length
    assert found.total == sum(counts.values())
    assert dict(zip(found.tokens, found.counts, strict=True)) == dict(counts)
    assert found.counts == sorted(found.counts, reverse=True)


@pytest.mark.parametrize("bits", [4, 6])
def test_the_oldest_tokens_fall_out(bits):
    """A window that is passed many times: what is found stands in it, and the newest is found."""
    store, chance, everything = NativeEarlier(bits), random.Random(1), []
    for _ in range(200):
        tokens = [chance.randrange(5) for _ in range(chance.randint(4, 9))]
        store.add(tokens)
        everything = [*everything, *tokens, -1][-(2**bits) :]
        found = store.find(tokens[:3])
        assert tokens[3] in found.tokens or found.total > 4
        for at in range(3, len(tokens)):
            told = store.find(tokens[max(at - 5, 0) : at])
            for token in told.tokens:
                wanted = [*tokens[at - told.length : at], token]
                size = len(wanted)
                assert any(everything[i : i + size] == wanted for i in range(len(everything)))
    assert store.find([7, 7, 7]).total == 0


def test_no_match_goes_from_one_text_into_the_next():
    store = kept([[1, 2, 3], [4, 5, 6, 7]])
    assert store.find([1, 2, 3]).total == store.find([3, 4, 5]).total == 0
    assert store.find([3, 4, 5, 6]) == ([7], [1], 1, 3)


def test_matches_are_compared_up_to_a_length():
    text = [*range(50), 99]
    assert kept([text]).find(text[:50]).length == 32


def test_groups_are_apart_and_bounded():
    texts = EarlierTexts()
    texts.of("mine").add([1, 2, 3, 4])
    assert texts.of("mine").find([1, 2, 3]).tokens == [4]
    assert texts.of("yours").find([1, 2, 3]).total == 0
    assert texts.bytes == 2 * 12 * 2**BITS
    held = texts.of("mine")
    for number in range(2 * GROUPS):
        texts.of(str(number))
        assert texts.of("mine") is held  # is used, and stays
    assert texts.bytes == GROUPS * 12 * 2**BITS
    assert texts.of("yours").find([1, 2, 3]).total == 0


def test_what_of_a_text_is_kept():
    assert added([1, 2, 3], 2) == [1, 2, 3]
    assert added(range(100), 90) == range(90 - BEFORE, 100)


@given(st.data())
def test_the_library_grows_the_trees_that_python_grows(data):
    token = st.integers(0, 3)
    earlier = kept(data.draw(TEXTS))
    names, tokens = data.draw(st.sampled_from([("earlier",), ("lookup", "earlier")])), [0]
    facts, ends = Facts(5, None, None, None, None, earlier, None), frozenset({2})
    both = Panel(make_proposers(names, facts), ends), NativePanel.of(names, facts, ends)
    assert both[0].priors == both[1].priors
    for panel in both:
        panel.begin(tokens)
    for _ in range(3):
        tokens += data.draw(st.lists(token, max_size=8))
        odds = [data.draw(st.floats(0.0, 1.0)) for _ in sum(both[0].priors, ())]
        floors = sorted(data.draw(st.lists(st.floats(0.0, 0.9), max_size=9)))
        mine, theirs = (panel.offer(False) for panel in both)
        assert mine.grow(odds, floors) == theirs.grow(odds, floors)
        assert mine.draft(9) == theirs.draft(9)
        tokens += data.draw(st.lists(token, max_size=6))
        assert mine.evidence() == theirs.evidence()


@pytest.fixture(scope="module")
def lm():
    return LanguageModel(NativeTransformer.packing(random_model(LLAMA, depth_gain=0.7).float()))


PROMPTS = [[(5 * i + 3 * n) % 29 for i in range(8 + n)] for n in range(4)]


@pytest.mark.thinned(2)
@pytest.mark.parametrize("method", LOSSLESS)
@pytest.mark.parametrize("rule", [{}, {"temperature": 0.9, "seed": 5}])
def test_the_text_is_the_one_that_it_is_alone(lm, method, rule):
    earlier = NativeEarlier(12)
    for prompt in PROMPTS * 2:
        text = lm.generate(prompt, method, reuse=Reuse(earlier=earlier), max_new_tokens=30, **rule)
        assert text.token_ids == lm.generate(prompt, "vanilla", max_new_tokens=30, **rule).token_ids


def test_a_second_pass_is_drafted_from_the_first(lm):
    earlier, asked = NativeEarlier(12), {"max_new_tokens": 40}
    method = "auto:exits=false,lookup=false"
    first, second = (
        [lm.generate(prompt, method, reuse=Reuse(earlier=earlier), **asked) for prompt in PROMPTS]
        for _ in range(2)
    )
    assert [text.token_ids for text in first] == [text.token_ids for text in second]
    rounds = [sum(len(text.stats.rounds) for text in texts) for texts in (first, second)]
    assert rounds[1] < rounds[0] / 2
    chunks = list(lm.stream(PROMPTS[0], method, reuse=Reuse(earlier=earlier), **asked))
    assert sum(chunk.source == "earlier" for chunk in chunks) > 20
    alone = list(
        lm.stream(PROMPTS[0], f"{method},earlier=false", reuse=Reuse(earlier=earlier), **asked)
    )
    assert not any(chunk.source == "earlier" for chunk in alone)


def test_texts_side_by_side_draft_from_one_anothers_ends(lm):
    earlier = NativeEarlier(12)
    for _ in range(2):
        sequences = [
            lm.sequence(prompt, "auto", reuse=Reuse(earlier=earlier), max_new_tokens=30)
            for prompt in PROMPTS
        ]
        generate_together(sequences, Scheduler(lm.model))
    for prompt, sequence in zip(PROMPTS, sequences, strict=True):
        assert sequence.new_tokens == lm.generate(prompt, "vanilla", max_new_tokens=30).token_ids


def test_threads_may_add_and_find_at_once():
    store, texts = NativeEarlier(8), [[n, n + 1, n + 2, n + 3] for n in range(50)]

    def work(tokens):
        for _ in range(200):
            store.add(tokens)
            found = store.find(tokens[:3])
            assert set(found.tokens) <= {tokens[3]}

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, texts))
