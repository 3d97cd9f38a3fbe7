"""Prompts: built-in ones are distinct and complete, a user's are read as they stand."""

import re

import pytest

from dynexit.errors import DynexitError
from dynexit.learning.journal import Text
from dynexit.learning.planning import GREEDY, NEW, Plan
from dynexit.learning.prompts import (
    HELD_OUT,
    OWN,
    families,
    in_turn,
    make_prompt,
    read_prompts,
    rewrites,
)

SOURCE = "The harbour was quiet. Two boats came in. Nobody spoke."


@pytest.mark.parametrize("family", families())
@pytest.mark.parametrize("chat", [True, False])
def test_every_family_has_many_prompts(family, chat):
    sources = [SOURCE] if rewrites(family) else []
    made = [make_prompt(family, number, chat, sources) for number in range(60)]
    assert not any(re.search(r"\{\w+\}|\{\d+-\d+\}", prompt.text) for prompt in made)
    assert len({prompt.text for prompt in made}) >= (1 if rewrites(family) else 15)
    assert any(prompt.chat for prompt in made) == chat
    assert all(SOURCE in prompt.text for prompt in made if sources)
    assert made == [make_prompt(family, number, chat, sources) for number in range(60)]


def test_some_families_come_more_often():
    order = list(in_turn())
    assert set(order) == set(families())
    assert order.count("instructions") > order.count("translation") == 1
    assert list(in_turn(["prose", "python"])) == ["prose", "python", "prose"]


def test_a_text_that_is_quoted_is_cut_after_a_sentence():
    source = "Some words. " * 200
    quoted = make_prompt("summaries", 0, False, [source]).text
    assert quoted.count("Some words.") == 50


class Finished(dict):
    """Every text is there at once."""

    def get(self, key):
        return Text(*key[:3], 1, (1, 2), 0, "", "")


def taken(plan, count):
    return [item for item, _ in zip(plan, range(count), strict=False)]


def test_a_plan_asks_each_prompt_greedily_and_but_for_held_out_ones_warmly():
    items = taken(Plan([], True, Finished(), lambda tokens: SOURCE), 3000)
    texts = [prompt.text for prompt, temperature in items if temperature == GREEDY]
    assert len(set(texts)) == len(texts)
    assert {prompt.family for prompt, _ in items} == set(families())
    warm = [prompt for prompt, temperature in items if temperature != GREEDY]
    assert not any(prompt.held_out for prompt in warm)
    held_out = [prompt for prompt, _ in items if prompt.held_out]
    assert len(texts) / HELD_OUT / 1.5 < len(held_out) < len(texts) / HELD_OUT * 1.5


def test_what_is_held_out_is_quoted_by_what_is_held_out_alone():
    quoted = {True: "held out", False: "taught"}

    def said(tokens):
        return quoted[said.held_out]

    class Marked(Finished):
        def get(self, key):
            text = super().get(key)
            said.held_out = text.held_out
            return text

    items = taken(Plan([], False, Marked(), said), 1500)
    rewriting = [prompt for prompt, _ in items if rewrites(prompt.family)]
    assert all(quoted[prompt.held_out] in prompt.text for prompt in rewriting)
    assert {prompt.held_out for prompt in rewriting} == {True, False}


def test_a_plan_ends_where_no_new_prompt_can_be_made(monkeypatch):
    few = ("lists", "summaries", "explanations")
    monkeypatch.setattr("dynexit.learning.planning.in_turn", lambda only: few)
    items = list(Plan([], False, {}, str))
    assert NEW < len(items) < 10_000
    assert {prompt.family for prompt, _ in items} == {"lists", "explanations"}


def test_a_users_prompts_are_lines_or_objects(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text('Why?\n\n{"prompt": "How?\\nTell me.", "id": 3}\nWhy?\n')
    made = read_prompts(file, chat=True)
    assert [prompt.text for prompt in made] == ["Why?", "How?\nTell me."]
    assert {(prompt.family, prompt.chat) for prompt in made} == {(OWN, True)}
    assert all(prompt.held_out for prompt in read_prompts(file, chat=True, judges=True))
    asked = taken(Plan(made, True, {}, str), 2)
    assert asked[0] == (made[0], GREEDY)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("\n \n", "holds no prompts"),
        ('{"text": "x"}', "line 1 has no text under 'prompt'"),
        ('Why?\n{"prompt": ', "line 2 is not JSON"),
        (b"\xff", "not UTF-8"),
        (None, "no such file"),
    ],
)
def test_a_file_that_holds_no_prompts_is_refused(tmp_path, content, reason):
    file = tmp_path / "mine.txt"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DynexitError, match=reason):
        read_prompts(file, chat=False)
