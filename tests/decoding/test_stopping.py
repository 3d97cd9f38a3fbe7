"""Stop strings and special tokens: a stop string may name them, though they are no text."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_detokenizing import TOKENIZERS
from tiny import LOSSLESS, scripted

from dynexit import LanguageModel
from dynexit.decoding.stopping import StopStrings
from dynexit.decoding.text import TextStream
from dynexit.model.tokenizer import CheckpointTokenizer

SPECIAL = {1: "<end>", 2: "<end>x", 3: "<s>"}
PIECES = ["a", "b", "ab", "<", "end", ">", "x", "\n", 1, 2, 3]
ATOMS = {1: "\udc01", 2: "\udc02", 3: "\udc03"}


def fed(pieces, stops, least=0):
    """The text that stop strings let out, and how many pieces it took."""
    found = StopStrings(stops, SPECIAL)
    said, count = "", 0
    for count, piece in enumerate(pieces, start=1):
        text = found.mark(piece) if isinstance(piece, int) else piece
        said += found.feed(text, count >= least)
        if found.found:
            return said, count
    return said + found.release(), count


def in_marks(stop):
    """A stop string with atoms in the place of special tokens."""
    return stop.replace("<end>x", ATOMS[2]).replace("<end>", ATOMS[1]).replace("<s>", ATOMS[3])


def by_searching_all(pieces, stops):
    """The same by looking at the whole text after every piece."""
    whole = ""
    for count, piece in enumerate(pieces, start=1):
        whole += ATOMS.get(piece, piece)
        read = "".join(one for one in whole if one not in ATOMS.values())
        places = [at for at, one in enumerate(whole) if one not in ATOMS.values()]
        cuts = [places[read.index(stop)] for stop in stops if stop in read]
        cuts += [whole.index(in_marks(stop)) for stop in stops if in_marks(stop) in whole]
        if cuts:
            return "".join(c for c in whole[: min(cuts)] if c not in ATOMS.values()), count
    return read if pieces else "", len(pieces)


texts = st.lists(st.sampled_from(PIECES), max_size=20)
stops_of = st.lists(
    st.lists(st.sampled_from(["a", "b", "<end>", "<s>", "x", "\n", "<"]), min_size=1, max_size=3),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, max_examples=400)
@given(texts, stops_of)
def test_the_first_stop_string_in_text_or_special_tokens_cuts(pieces, stops):
    joined = ["".join(stop) for stop in stops]
    assert fed(pieces, joined) == by_searching_all(pieces, joined)


@pytest.mark.parametrize(
    ("stop", "said", "count"),
    [
        ("<end>", "a", 2),
        ("a<end>", "", 2),
        ("<end>b", "a", 3),
        ("<end>\n", "abx\n", 5),  # nowhere
        ("ab", "", 3),  # as it is read
        ("end", "abx\n", 5),  # a special token is found whole
        ("<end>x", "abx\n", 5),  # another special token
    ],
)
def test_stop_strings_that_name_special_tokens(stop, said, count):
    assert fed(["a", 1, "b", "x", "\n"], [stop]) == (said, count)


def test_of_two_special_tokens_the_longer_name_counts():
    assert fed(["a", 2, "b"], ["<end>x"]) == ("a", 2)


@pytest.mark.parametrize(
    ("least", "said", "count"),
    [(1, "x", 2), (2, "x", 2), (3, "xab", 4), (5, "xabab", 6), (7, "xababab", 7)],
)
def test_before_so_many_tokens_a_stop_string_is_text(least, said, count):
    assert fed(["x", "ab", "", "ab", "", "ab", ""], ["ab"], least) == (said, count)


def test_a_stop_string_that_is_completed_late_enough_is_cut_where_it_begins():
    assert fed(["x", "a", "b"], ["ab"], 3) == ("x", 3)


@pytest.fixture(scope="module")
def chatterbox(tokenizer):
    """Writes "fox <|im_end|>\\nAnswer" with every token of it once, and its tokenizer's ids."""
    own = CheckpointTokenizer(Path(tokenizer.loaded.name_or_path))
    own.loaded.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    ids = own.encode("The fox<|im_end|>\nAnswer")
    assert len(set(ids)) == len(ids)
    says = [0] * own.size
    for token, following in pairwise(ids):
        says[token] = following
    return LanguageModel(scripted(says, says), own, frozenset({0})), ids


@pytest.mark.parametrize("method", LOSSLESS)
@pytest.mark.parametrize(
    ("stop", "text"),
    [("<|im_end|>", " fox"), ("fox<|im_end|>", " "), ("<|im_end|>\nA", " fox"), ("x\nA", " fo")],
)
def test_every_method_stops_at_special_tokens(chatterbox, method, stop, text):
    lm, ids = chatterbox
    prompt = lm.tokenizer.encode("The")
    out = lm.generate(prompt, method, max_new_tokens=40, stop=stop)
    assert (out.text, out.finish_reason) == (text, "stop")
    whole = lm.generate(prompt, method, max_new_tokens=40)
    assert whole.text == " fox\nAnswer"
    assert len(out.token_ids) <= len(whole.token_ids) == len(ids) - len(prompt)


def test_a_special_token_between_byte_tokens_is_found():
    tokenizer = TOKENIZERS["llama 2"]
    text = TextStream(tokenizer, [], ["<|im_end|>\n"])
    for piece in ("a", "<|im_end|>", "<0x0A>"):
        text.push(tokenizer.token_to_id(piece))
    assert text.stopped
