"""What texts have read before: a tree of blocks within a bound, and texts that do not notice."""

import re
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from dynexit.decoding.memory import memory_of
from dynexit.decoding.prefix_files import Origin
from dynexit.decoding.prefixes import KEY, SALT, PrefixCache
from dynexit.errors import DynexitError
from dynexit.model.interface import BLOCK

SIZE = 64  # bytes of a block in these tests
ORIGIN = Origin("f00d", "a model", "native, plain", "float32", "1")


class Blocks:
    """A cache of no model, whose blocks say which tokens they are of."""

    block_bytes, max_positions = SIZE, 10_000

    def __init__(self, tokens=()) -> None:
        self.length, self._blocks = len(tokens), [block_of(part) for part in parts(tokens)]

    def save(self, block):
        return self._blocks[block].clone()

    def restore(self, blocks):
        self._blocks = list(blocks)

    def holds(self, tokens):
        mine = [block_of(part) for part in parts(tokens)]
        return len(mine) == len(self._blocks) and all(map(torch.equal, mine, self._blocks))


def parts(tokens):
    return [tuple(tokens[: at + BLOCK]) for at in range(0, len(tokens) - BLOCK + 1, BLOCK)]


def block_of(tokens):
    """Bytes that depend on all tokens up to its end."""
    generator = torch.Generator().manual_seed(hash(tokens) % 2**31)
    return torch.randint(256, (SIZE,), generator=generator, dtype=torch.uint8)


def room(blocks):
    """A limit for so many."""
    return SALT + blocks * (SIZE + KEY)


def text(*letters, more=0):
    """A block of tokens for each letter, and some tokens of another."""
    return [letter for letter in letters for _ in range(BLOCK)] + [99] * more


class Naive:
    """The same by sets and times of use, with no tree: paths, not counted in bytes."""

    def __init__(self, most) -> None:
        self.most, self.used, self.time = most, {}, 0

    def restore(self, path):
        found = next((n for n in range(len(path), 0, -1) if path[:n] in self.used), 0)
        self._use(path[:found])
        return found

    def keep(self, path):
        for end in range(1, len(path) + 1):
            if path[:end] not in self.used:
                while len(self.used) >= self.most:
                    leaves = [one for one in self.used if not self._has_children(one)]
                    leaves = [one for one in leaves if one != path[: len(one)]]
                    if not leaves:
                        return self._use(path[: end - 1])
                    del self.used[min(leaves, key=self.used.get)]
            self.time += 1
            self.used[path[:end]] = self.time + 1_000_000  # later than whatever else is there
        return self._use(path)

    def _has_children(self, path):
        return any(len(one) > len(path) and one[: len(path)] == path for one in self.used)

    def _use(self, path):
        for end in range(len(path), 0, -1):
            self.time += 1
            self.used[path[:end]] = self.time


PATHS = st.lists(st.integers(0, 2), min_size=0, max_size=5).map(tuple)


@settings(max_examples=300, deadline=None)
@given(
    steps=st.lists(st.tuples(st.booleans(), PATHS, st.integers(0, BLOCK - 1)), max_size=40),
    most=st.integers(1, 9),
)
def test_the_tree_keeps_what_was_used_last_and_never_more_than_it_may(steps, most):
    cache, naive = PrefixCache(room(most), SIZE), Naive(most)
    for keeps, path, more in steps:
        tokens = text(*path, more=more)
        if keeps:
            cache.keep(Blocks(tokens), tokens)
            naive.keep(path)
        else:
            blocks = Blocks()
            found = cache.restore(blocks, tokens)
            assert found == naive.restore(path) * BLOCK
            assert blocks.holds(tokens[:found])
        assert len(cache) == len(naive.used) <= most
        assert cache.bytes == len(cache) * (SIZE + KEY) <= cache.limit
    for path in naive.used:  # the same ones
        assert cache.restore(Blocks(), text(*path)) == len(path) * BLOCK


def test_what_is_counted():
    cache = PrefixCache(room(2), SIZE)
    cache.keep(Blocks(text(1, 2)), text(1, 2))
    cache.restore(Blocks(), text(1, 3))
    cache.restore(Blocks(), text(3))
    cache.keep(Blocks(text(3)), text(3))
    assert (cache.asked, cache.hits, cache.found, cache.dropped) == (2, 1, BLOCK, 1)
    assert cache.restore(Blocks(), text(1, 2)) == BLOCK  # the end of a path goes first


def test_what_a_cache_has_not_committed_is_not_kept():
    cache, blocks = PrefixCache(room(4), SIZE), Blocks(text(1, 2))
    blocks.length = 2 * BLOCK - 1
    cache.keep(blocks, text(1, 2))
    assert len(cache) == 1


def test_salts_share_nothing():
    cache = PrefixCache(room(4), SIZE)
    cache.keep(Blocks(text(1)), text(1), "mine")
    assert cache.restore(Blocks(), text(1)) == cache.restore(Blocks(), text(1), "yours") == 0
    assert cache.restore(Blocks(), text(1), "mine") == BLOCK
    assert cache.bytes == SIZE + KEY + SALT


def test_a_block_that_cannot_be_made_leaves_the_tree_whole():
    class Broken(Blocks):
        def save(self, block):
            if block == 1:
                raise DynexitError("no memory left")
            return super().save(block)

    cache = PrefixCache(room(2), SIZE)
    with pytest.raises(DynexitError, match="no memory"):
        cache.keep(Broken(text(1, 2)), text(1, 2))
    assert cache.restore(Blocks(), text(1, 2)) == BLOCK
    for letter in range(5):
        cache.keep(Blocks(text(letter, 7)), text(letter, 7))
    assert cache.bytes == 2 * (SIZE + KEY)


@pytest.mark.parametrize("limit", [1, SIZE, room(1) - 1])
def test_a_bound_below_one_block_is_refused(limit):
    with pytest.raises(DynexitError, match=f"of {limit} bytes is too small for one block"):
        PrefixCache(limit, SIZE)


@pytest.mark.parametrize(
    ("given_", "bytes_"),
    [
        *((0, 0), (5_000, 5_000), ("0", 0), ("512MB", 512 * 10**6), ("1.5 gb", 15 * 10**8)),
        *(("2K", None), ("-1GB", None), (-1, None), (True, None), (1.5, None), ("much", None)),
        ("", None),
    ],
)
def test_memory_is_given_as_people_say_it(given_, bytes_):
    if bytes_ is not None:
        assert memory_of(given_) == bytes_
        return
    with pytest.raises(DynexitError, match=re.escape(f"cache_memory is {given_!r}: give bytes")):
        memory_of(given_)


@pytest.fixture
def saved(tmp_path):
    """A file of three blocks, one of them after two others."""
    cache = PrefixCache(room(9), SIZE, lambda: ORIGIN)
    for path in ((1, 2), (1, 3)):
        cache.keep(Blocks(text(*path)), text(*path))
    cache.keep(Blocks(text(5)), text(5), "secret")
    cache.save(tmp_path / "saved.safetensors")
    return tmp_path / "saved.safetensors"


def loading(file, blocks=9, **changes):
    cache = PrefixCache(
        room(blocks), changes.pop("size", SIZE), lambda: Origin(**vars(ORIGIN) | changes)
    )
    return cache, cache.load(file)


def test_a_file_brings_back_what_had_no_salt(saved):
    cache, count = loading(saved)
    assert count == 3 * BLOCK
    for path in ((1, 2), (1, 3)):
        blocks = Blocks()
        assert cache.restore(blocks, text(*path)) == 2 * BLOCK
        assert blocks.holds(text(*path))
    assert cache.restore(Blocks(), text(5), "secret") == cache.restore(Blocks(), text(5)) == 0
    with safe_open(str(saved), "pt") as file:  # any reader of safetensors takes it
        assert file.get_tensor("blocks").shape == (3, SIZE)


def test_what_is_loaded_makes_room_for_itself_and_keeps_the_order_of_use(saved):
    cache = PrefixCache(room(3), SIZE, lambda: ORIGIN)
    cache.keep(Blocks(text(1, 8)), text(1, 8))
    cache.load(saved)
    assert len(cache) == 3
    assert cache.restore(Blocks(), text(1, 8)) == BLOCK
    cache.keep(Blocks(text(9)), text(9))
    assert cache.restore(Blocks(), text(1, 3)) == 2 * BLOCK  # was used after the other


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"fingerprint": "beef"},
            "holds keys and values of a model, which is not this model: read",
        ),
        (
            {"runtime": "native, avx2"},
            "was saved by native, plain in float32 of dynexit 1, but this is",
        ),
        ({"dtype": "bfloat16"}, "which rounds differently: read the text here and save it again."),
        ({"version": "2"}, "which rounds differently"),
        ({"blocks": 2}, "bytes of keys and values, but this cache may hold"),
        ({"size": 2 * SIZE}, "cannot be read as a prefix cache: its tensors are"),
    ],
)
def test_what_is_of_another_model_or_too_large_is_refused(saved, changes, sentence):
    with pytest.raises(DynexitError) as caught:
        loading(saved, **changes)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_refused_and_change_nothing(saved, tmp_path):
    whole = saved.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    looped = whole[:start] + (7).to_bytes(4, "little") + whole[start + 4 :]
    for content in (
        b"",
        whole[:-1],
        whole[:20],
        whole.replace(b"prefixes 1", b"prefixes 2"),
        looped,
    ):
        saved.write_bytes(content)
        cache = PrefixCache(room(9), SIZE, lambda: ORIGIN)
        with pytest.raises(DynexitError, match="cannot be read as a prefix cache"):
            cache.load(saved)
        assert len(cache) == cache.bytes == 0
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(DynexitError, match="is not a file"):
            cache.load(missing)
    with pytest.raises(DynexitError, match="cannot write"):
        cache.save(tmp_path / "no folder" / "file")


def test_an_empty_cache_has_a_file_too(tmp_path):
    PrefixCache(room(1), SIZE, lambda: ORIGIN).save(tmp_path / "empty")
    assert loading(tmp_path / "empty")[1] == 0


def test_a_model_of_no_checkpoint_saves_nothing(tmp_path):
    with pytest.raises(DynexitError, match="was not loaded from a checkpoint"):
        PrefixCache(room(1), SIZE).save(tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_the_tests_know_a_block_by_all_tokens_before_it():
    ends = [block_of(part) for part in parts(text(1, 1, 1))]
    assert not any(torch.equal(a, b) for a, b in pairwise(ends))
