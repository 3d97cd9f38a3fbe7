"""What holds for every benchmark that is a file in the folder."""

import json

import pytest

from dynexit.errors import DynexitError
from dynexit.tasks import load_examples, make_task, task_names
from dynexit.tasks.base import TEMPLATES, shuffled


def test_the_tasks_of_the_paper_are_there():
    assert set(task_names()) >= {
        "gsm8k",
        "aqua_rat",
        "cnn_dm_lm",
        "cnn_dm_summarization",
        "xsum_summarization",
        "wmt14_de_en",
        "human_eval",
    }


@pytest.mark.parametrize("template", TEMPLATES)
def test_examples_are_whole(name, folder, template):
    examples = load_examples(name, folder, None, None, template, 0)
    assert len({e.id for e in examples}) == len({e.prompt for e in examples}) == 6
    assert json.loads(json.dumps([e.reference for e in examples])) == [
        e.reference for e in examples
    ]
    assert make_task(name).name == name


def test_only_the_seed_changes_the_order(name, folder):
    first, again, other = (load_examples(name, folder, None, 0, "del", s) for s in (1, 1, 2))
    assert first == again
    assert first != other
    assert {e.id for e in first} == {e.id for e in other}
    assert load_examples(name, folder, 2, 0, "del", 1) == first[:2]
    assert load_examples(name, folder, 100, 0, "del", 1) == first


def test_the_order_is_the_same_on_every_machine():
    assert shuffled(6, 0) == [4, 0, 2, 1, 5, 3]
    assert [i for i in shuffled(9, 0) if i < 6] == [4, 0, 2, 1, 5, 3]


@pytest.mark.parametrize("template", TEMPLATES)
def test_shots_are_never_evaluated(name, folder, template):
    if not make_task(name).has_answers:
        with pytest.raises(DynexitError, match="has no answers for worked examples: use 0 shots"):
            load_examples(name, folder, None, 2, template, 3)
        return
    plain = load_examples(name, folder, None, 0, template, 3)
    shot = load_examples(name, folder, None, 2, template, 3)
    if make_task(name).own_shots:
        assert [e.id for e in shot] == [e.id for e in plain]
    else:
        assert [e.id for e in shot] == [e.id for e in plain[2:]]
    opening = {e.prompt[: e.prompt.rindex("\n\n")] for e in shot}
    assert len(opening) == 1
    assert opening.pop().count("\n\n") == 1


def test_no_reference_no_scores(name):
    task = make_task(name)
    assert task.score("text", None) == {}
    assert task.score_all(["text"], [None]) == {}
    assert task.score_all([], []) == {}


def test_an_empty_answer_scores_nothing(name, folder):
    task = make_task(name)
    if not task.has_answers:
        assert {e.reference for e in load_examples(name, folder, None, 0, "del", 0)} == {None}
        return
    reference = next(
        e.reference for e in load_examples(name, folder, None, 0, "del", 0) if e.reference
    )
    assert set(task.score("", reference).values()) <= {0.0}
    assert set(task.score_all(["", ""], [reference, None]).values()) <= {0.0}


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ((0, 0, "del"), "number of samples must be 1 or more, not 0"),
        ((None, -1, "del"), "number of shots must be 0 or more, not -1"),
        ((None, 6, "del"), "6 shots were asked for: there are 5"),
        ((None, 0, "chat"), "template 'chat' does not exist: use del or cue"),
    ],
)
def test_requests_that_cannot_be_met(name, folder, request_, said):
    if request_[1] and request_[1] > 0 and not make_task(name).has_answers:
        said = "has no answers for worked examples"
    with pytest.raises(DynexitError, match=said):
        load_examples(name, folder, *request_, 0)


def test_fields_that_are_missing(name, folder):
    task = make_task(name)
    rows = [dict(row) for row in task.rows(folder)]
    for field in task.fields:
        outer, _, inner = field.partition(".")
        value = {**rows[3][outer], inner: None} if inner else None
        broken = [*rows[:3], {**rows[3], outer: value}]
        with pytest.raises(DynexitError, match=f"row 4 of the data has no field {field!r}"):
            task.examples(broken, None, 0, "del", 0)
    with pytest.raises(DynexitError, match="no rows"):
        task.examples([], None, 0, "del", 0)


def test_unknown_tasks():
    for name in ("gsm9k", "jsonl:", "jsonl", "gsm8k:x", ""):
        with pytest.raises(DynexitError, match=r"use aqua_rat, .*gsm8k.* or jsonl:FILE"):
            make_task(name)
