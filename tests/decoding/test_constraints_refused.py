"""Constraints that cannot be followed cost one sentence."""

import pytest
from guided import SHAPES
from tiny import LOSSLESS

from dynexit import Constraint, DynexitError, LanguageModel

pytest.importorskip("llguidance")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Constraint.json("{nope"), "the JSON schema is not JSON: "),
        (lambda: Constraint.json("[1]"), "the JSON schema is not a JSON object"),
        (lambda: Constraint.json({"a": {1}}), "the JSON schema is not JSON: "),
        (lambda: Constraint.choice([]), "the choice is empty"),
        (lambda: Constraint.choice("text"), "the choice is empty"),
        (lambda: Constraint.choice([1]), "the choice is '1': give text"),
        (lambda: Constraint.regex(b"a"), "the regular expression is "),
        (lambda: Constraint.regex("\ud800"), "the regular expression is not UTF-8"),
        (
            lambda: Constraint.json({"type": "strin"}),
            "JSON schema cannot be followed: Invalid type",
        ),
        (
            lambda: Constraint.json({"type": "array", "uniqueItems": True}),
            'JSON schema cannot be followed: Unimplemented keys: ["uniqueItems"]',
        ),
        (lambda: Constraint.json({"enum": []}), "JSON schema cannot be followed: Unsatisfiable"),
        (lambda: Constraint.regex("(a"), "regular expression cannot be followed: unclosed group"),
        (lambda: Constraint.regex("(?=a)b"), "regular expression cannot be followed: look-around"),
        (lambda: Constraint.grammar("start: foo"), "grammar cannot be followed: "),
        (lambda: Constraint.grammar('root ::= "a" | b\n'), "grammar cannot be followed: "),
        (lambda: Constraint.grammar("%%%"), "grammar cannot be followed: "),
        (lambda: "[0-9]+", "constraint must be a dynexit.Constraint"),
    ],
)
def test_what_cannot_be_followed_is_one_sentence(word_lm, opening, made, message):
    with pytest.raises(DynexitError) as caught:
        word_lm.generate(opening, constraint=made())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("options", "name"), [({"ignore_eos": True}, "ignore_eos"), ({"min_new_tokens": 2}, "min_new")]
)
def test_options_that_contradict_a_constraint_are_refused_by_name(word_lm, opening, options, name):
    with pytest.raises(DynexitError, match=f"{name}.* cannot be combined with a constraint"):
        word_lm.generate(opening, constraint=SHAPES["regex"], **options)


def test_a_checkpoint_without_a_tokenizer_is_told(word_model):
    with pytest.raises(DynexitError, match="a constraint needs a tokenizer"):
        LanguageModel(word_model).generate([1, 2], constraint=SHAPES["regex"])


def test_without_the_package_the_extra_is_named(word_model, tokenizer, opening, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "llguidance", None)
    lm = LanguageModel(word_model, tokenizer, frozenset({0}))
    with pytest.raises(DynexitError, match="the extra `constraints`"):
        lm.generate(opening, constraint=SHAPES["regex"])


def test_nothing_left_to_choose_is_one_sentence(word_lm, opening, tokenizer):
    for method in LOSSLESS:
        with pytest.raises(DynexitError, match="leave no token"):
            word_lm.generate(
                opening,
                method,
                constraint=Constraint.choice(["a"]),
                banned=(tuple(tokenizer.encode("a")),),
            )
