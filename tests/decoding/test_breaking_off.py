"""A text that is interrupted, or not read to its end, leaves what there was of it."""

import json

import pytest
from tiny import Fixed

from dynexit import Controller


class Interrupted(Fixed):
    """Raises KeyboardInterrupt in `where` at the third call."""

    def __init__(self, where: str) -> None:
        super().__init__(2, 3)
        self.where, self.calls = where, 0

    def _count(self, where):
        self.calls += where == self.where
        if self.calls == 3:
            raise KeyboardInterrupt

    def plan(self):
        self._count("plan")
        return super().plan()

    def observe(self, finished):
        del finished
        self._count("observe")


@pytest.mark.parametrize("where", ["plan", "observe"])
def test_an_interrupt_leaves_the_text_so_far(author, tokenizer, opening, continuation, where):
    stream = author.stream(opening, Interrupted(where), max_new_tokens=100)
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    out = stream.output
    assert len(out.token_ids) > 3
    assert out.text == tokenizer.decode(out.token_ids).rstrip("\ufffd")  # held back
    assert continuation.startswith(out.text)
    assert out.finish_reason is None
    assert out.stats.tokens == len(out.token_ids) - 1
    assert len(out.stats.rounds) == (2 if where == "plan" else 3)
    json.dumps(out.stats.as_dict())


def test_an_interrupt_before_the_first_token_leaves_nothing(author, opening):
    class AtOnce(Controller):
        def target_layer(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        author.stream(opening, AtOnce())


def test_nothing_is_computed_before_the_first_chunk_is_asked_for(author, opening):
    out = author.stream(opening, "layerskip").output
    assert (out.text, out.token_ids, out.finish_reason) == ("", [], None)


@pytest.mark.parametrize("taken", [1, 2, 3, 5])
def test_a_reader_who_leaves_finds_text_and_tokens_that_agree(author, tokenizer, opening, taken):
    stream = author.stream(opening, Fixed(2, 3), max_new_tokens=100)
    for _ in range(taken):
        next(stream)
    out = stream.output
    assert out.text == tokenizer.decode(out.token_ids).rstrip("\ufffd")  # held back
    assert len(out.token_ids) >= taken
    assert out.stats.tokens == len(out.token_ids) - 1


def test_a_stream_that_is_read_on_after_a_look_at_its_output_is_whole(
    author, opening, continuation
):
    stream = author.stream(opening, "del", max_new_tokens=100)
    for _ in stream:
        assert continuation.startswith(stream.output.text)
    assert stream.output.text == continuation
