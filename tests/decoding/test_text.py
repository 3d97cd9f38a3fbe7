"""Text: whole characters, stop strings that span tokens, and nothing leaked before its time."""

import pytest
from conftest import CORPUS, TEXT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import LOSSLESS, Fixed

from dynexit.decoding.text import TextStream
from dynexit.training.vocabulary import byte_level_tokenizer

UNFINISHED = "\ufffd"
TOKENIZER = byte_level_tokenizer(310, CORPUS)
SETTINGS = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
letters = st.text("abc de\n€é😀ßThe quick", max_size=25)


def ids_of(text):
    return TOKENIZER.encode(text).ids


def streamed(ids, stop=(), prompt=()):
    """The pieces that a stream releases, one a token and one at the end."""
    stream, pieces = TextStream(TOKENIZER, prompt, stop), []
    for token in ids:
        pieces.append(stream.push(token))
        if stream.stopped:
            break
    return [*pieces, stream.flush()]


@pytest.mark.parametrize("method", LOSSLESS)
def test_every_method_writes_the_text(author, opening, continuation, method):
    out = author.generate(opening, method, max_new_tokens=100)
    assert out.text == continuation
    assert out.finish_reason == "stop"


def test_these_stop_strings_span_tokens_and_drafts(author, tokenizer, opening):
    out = author.generate(opening, Fixed(2, 6), max_new_tokens=100)
    assert max(r.tokens for r in out.stats.rounds) > 3
    assert any(len(tokenizer.decode([t])) > 1 for t in out.token_ids)


@pytest.mark.parametrize("method", LOSSLESS)
def test_a_stop_string_cuts_the_text_before_it(author, opening, continuation, method):
    for start in range(0, len(continuation) - 6, 17):
        stop = continuation[start : start + 2 + start % 5]
        expected = continuation[: continuation.index(stop)]
        stream = author.stream(opening, method, max_new_tokens=100, stop=stop)
        so_far = ""
        for chunk in stream:
            so_far += chunk.text
            assert expected.startswith(so_far), "part of a stop string was let out"
        assert so_far == stream.output.text == expected
        assert stream.output.finish_reason == "stop"


@pytest.mark.parametrize("method", LOSSLESS)
def test_tokens_go_up_to_the_one_that_completed_the_stop_string(author, opening, method):
    plain = author.generate(opening, "vanilla", max_new_tokens=100, stop=["jumps ov"])
    out = author.generate(opening, method, max_new_tokens=100, stop=["jumps ov"])
    assert out.token_ids == plain.token_ids
    whole = author.tokenizer.decode(out.token_ids)
    assert "jumps ov" in whole
    assert "jumps ov" not in author.tokenizer.decode(out.token_ids[:-1])
    assert out.stats.tokens == len(out.token_ids) - 1


def test_the_first_of_several_stop_strings_counts(author, opening, continuation):
    out = author.generate(opening, "del", max_new_tokens=100, stop=["lazy", "fox", "\n"])
    assert out.text == continuation[: continuation.index("fox")]


def test_of_two_stop_strings_in_one_token_the_one_that_begins_first_counts():
    (token,) = ids_of(" jumps")
    assert streamed([token], ["mp", "um", "ps"]) == [" j", ""]


def test_what_only_began_like_a_stop_string_is_let_out(author, opening, continuation):
    stops = ["fox, under", "dawn.\n\n", "four and more", "zzz"]
    out = author.generate(opening, "del", max_new_tokens=100, stop=stops)
    assert out.text == continuation


def test_what_was_held_back_is_let_out_at_the_end_of_the_length(author, opening, continuation):
    lengths = set()
    for count in range(1, 12):
        stream = author.stream(opening, "layerskip", max_new_tokens=count, stop="jumps overt")
        text = "".join(chunk.text for chunk in stream)
        assert text == stream.output.text
        assert continuation.startswith(text)
        assert stream.output.finish_reason == "length"
        lengths.add(len(text))
    assert len(lengths) == 11


@pytest.mark.parametrize("method", LOSSLESS)
def test_an_emoji_of_four_tokens_appears_at_once(author, opening, method):
    pieces = [c.text for c in author.stream(opening, method, max_new_tokens=100)]
    assert sum("😀" in piece for piece in pieces) == 1
    assert UNFINISHED not in "".join(pieces)
    assert len(ids_of("😀")) == 4


def test_a_character_that_the_length_cuts_is_marked_as_unfinished(author, opening, continuation):
    whole = author.tokenizer.encode(TEXT).index(ids_of("😀")[-1]) + 1 - len(opening)
    before = continuation[: continuation.index("😀")]
    for missing in (1, 2, 3):
        out = author.generate(opening, "del", max_new_tokens=whole - missing)
        assert out.text.rstrip(UNFINISHED) == before
        assert out.text.endswith(UNFINISHED)
    assert author.generate(opening, "del", max_new_tokens=whole).text == before + "😀"


@SETTINGS
@given(letters, letters)
def test_pieces_add_up_to_the_text(prompt, text):
    pieces = streamed(ids_of(text), prompt=ids_of(prompt))
    assert "".join(pieces) == text
    assert not any(UNFINISHED in piece for piece in pieces)
    assert pieces[-1] == ""


@SETTINGS
@given(letters, st.text("abc de\n€", min_size=1, max_size=4))
def test_the_cut_is_where_the_stop_string_first_begins(text, stop):
    pieces = streamed(ids_of(text), [stop])
    assert "".join(pieces) == text.split(stop)[0]


@SETTINGS
@given(letters, st.lists(st.text("abc de\n€", min_size=1, max_size=4), max_size=4))
def test_nothing_is_let_out_that_a_stop_string_takes_back(text, stops):
    pieces = streamed(ids_of(text), stops)
    final = "".join(pieces)
    assert text.startswith(final)
    assert not any(stop in final for stop in stops)
    if final != text:  # then a stop string does begin where it was cut
        assert any(text[len(final) :].startswith(stop) for stop in stops)


@SETTINGS
@given(st.lists(st.integers(1, 309), max_size=20), letters)
def test_any_tokens_at_all_add_up_to_their_decoding(ids, prompt):
    pieces = streamed(ids, prompt=ids_of(prompt))
    assert "".join(pieces) == TOKENIZER.decode(ids)


@pytest.mark.parametrize("prompt", ["ends in a replacement \ufffd", "x\ufffd\ufffd", "\ufffd"])
def test_the_prompt_is_never_repeated(prompt):
    assert "".join(streamed(ids_of(" quick"), prompt=ids_of(prompt))) == " quick"


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_prompt_that_ends_in_mid_character_is_never_repeated(kept):
    prompt = ids_of("lazy dogs") + ids_of("😀")[:kept]
    text = "".join(streamed(ids_of(" quick"), prompt=prompt))
    assert text.lstrip(UNFINISHED) == " quick"


def test_special_tokens_are_no_text():
    assert "".join(streamed([0, *ids_of("fox"), 0, 0])) == "fox"


def test_an_empty_stop_string_stops_nothing():
    assert "".join(streamed(ids_of("fox"), [""])) == "fox"


@SETTINGS
@given(text=letters, prompt=letters)
def test_a_text_that_waits_for_its_end_is_the_same(text, prompt):
    ids, before = ids_of(text), ids_of(prompt)
    whole = TextStream(TOKENIZER, before, []).whole()
    assert all(not whole.push(token) for token in ids)
    assert whole.flush() == "".join(streamed(ids, prompt=before))


def test_stop_strings_are_looked_for_on_the_way():
    stream = TextStream(TOKENIZER, [], ["quick"])
    assert stream.whole() is stream
