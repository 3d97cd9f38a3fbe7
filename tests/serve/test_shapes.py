"""Shapes of texts and limits of tokens, asked of the server by the real client."""

import json
import re
from typing import Literal

import openai
import pytest
from chat_models import chat_model
from running import PROMPTS

import dynexit

pytest.importorskip("llguidance")

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["x", "y"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
GBNF = 'root ::= "a" [0-9]{2}'
ASKED = {"model": "bundled", "prompt": PROMPTS[0], "max_tokens": 80, "temperature": 0}


@pytest.fixture(scope="module")
def chat(serving, tmp_path_factory):
    with serving(chat_model(tmp_path_factory.mktemp("chat")), name="bundled") as running:
        yield running.client()


def completed(client, **fields):
    return client.completions.create(**ASKED, extra_body=fields).choices[0]


def check_person(text):
    found = json.loads(text)
    assert list(found) == PERSON["required"]
    assert len(found["name"]) <= 8
    assert type(found["age"]) is int
    assert 0 <= found["age"] <= 120
    assert set(found["tags"]) <= {"x", "y"}


@pytest.mark.parametrize("method", ["vanilla", "auto", "layerskip", "del"])
def test_guided_texts_are_the_librarys_whatever_the_method(lm, client, method):
    shapes = {
        "guided_json": (PERSON, dynexit.Constraint.json(PERSON)),
        "guided_regex": ("[a-z]{3,9}", dynexit.Constraint.regex("[a-z]{3,9}")),
        "guided_choice": (["yes", "no"], dynexit.Constraint.choice(["yes", "no"])),
        "guided_grammar": (GBNF, dynexit.Constraint.grammar(GBNF)),
    }
    for field, (value, constraint) in shapes.items():
        choice = completed(client, **{field: value, "dynexit": {"method": method}})
        expected = lm.generate(PROMPTS[0], "vanilla", constraint=constraint, max_new_tokens=80)
        assert (choice.text, choice.finish_reason) == (expected.text, "stop")


def test_a_schema_given_as_text_is_one(client):
    check_person(completed(client, guided_json=json.dumps(PERSON)).text)


@pytest.mark.parametrize("strict", [True, False, None])
def test_response_format_of_a_chat(chat, strict):
    schema = {"name": "person", "schema": PERSON, "strict": strict}
    answer = chat.chat.completions.create(
        model="bundled",
        messages=[{"role": "user", "content": "A person as JSON, please."}],
        response_format={"type": "json_schema", "json_schema": schema},
        seed=3,
        max_tokens=80,
    )
    assert answer.choices[0].finish_reason == "stop"
    check_person(answer.choices[0].message.content)


def test_a_model_of_the_clients_own_is_parsed(chat):
    from pydantic import BaseModel

    class Answer(BaseModel):
        yes: bool
        size: Literal["small", "large"]

    answer = chat.chat.completions.parse(
        model="bundled",
        messages=[{"role": "user", "content": "How many?"}],
        response_format=Answer,
        max_tokens=60,
    )
    assert isinstance(answer.choices[0].message.parsed, Answer)


def test_a_json_object_streams(chat):
    chunks = chat.chat.completions.create(
        model="bundled",
        messages=[{"role": "user", "content": "Anything as JSON, please."}],
        response_format={"type": "json_object"},
        temperature=0,
        stream=True,
        max_tokens=6,
    )
    text, reasons = "", []
    for chunk in chunks:
        text += chunk.choices[0].delta.content or ""
        reasons.append(chunk.choices[0].finish_reason)
    assert text.startswith("{")
    assert reasons[-1] == ("stop" if text.endswith("}") else "length")


def test_a_limit_within_json_is_told(client):
    asked = {**ASKED, "max_tokens": 5}
    choice = client.completions.create(**asked, extra_body={"guided_json": PERSON}).choices[0]
    assert choice.finish_reason == "length"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"guided_json": "{nope"}, "the JSON schema is not JSON"),
        ({"guided_json": {"type": "strin"}}, "the JSON schema cannot be followed: Invalid type"),
        ({"guided_json": {"type": "array", "uniqueItems": True}}, 'Unimplemented keys: \\["unique'),
        ({"guided_json": {"$ref": "http://127.0.0.1:1/x"}}, "the JSON schema cannot be followed"),
        ({"guided_regex": "(a"}, "the regular expression cannot be followed: unclosed group"),
        (
            {"guided_regex": "a", "guided_choice": ["b"]},
            "guided_regex and guided_choice both constrain",
        ),
        ({"guided_grammar": "start: foo"}, "the grammar cannot be followed"),
        ({"guided_choice": []}, "guided_choice must be"),
        (
            {"guided_regex": "a", "min_tokens": 3},
            "min_new_tokens cannot be combined with a constraint",
        ),
        (
            {"guided_regex": "a", "ignore_eos": True},
            "ignore_eos cannot be combined with a constraint",
        ),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "json_schema is missing"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"3": 101}}, "logit_bias.3 must be at most 100"),
        ({"logit_bias": {"99999999": 1}}, "token id 99999999 is outside the vocabulary"),
        ({"bad_words": [""]}, "bad_words.0 must be at least 1 characters long"),
    ],
)
def test_what_cannot_be_followed_is_400_and_one_sentence(client, fields, message):
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        completed(client, **fields)
    told = caught.value.body["message"]
    assert "\n" not in told
    assert told.endswith(".")


@pytest.mark.parametrize("method", ["vanilla", "auto", "layerskip", "del"])
def test_biased_and_bad_words(lm, client, method):
    plain = completed(client).text
    word = re.search("[A-Za-z]{3,}", plain)[0]
    own = {"dynexit": {"method": method}}
    without = completed(client, bad_words=[word], **own).text
    assert word not in without
    assert without == lm.generate(PROMPTS[0], "vanilla", max_new_tokens=80, bad_words=[word]).text
    token = lm.generate(PROMPTS[0], "vanilla", max_new_tokens=1).token_ids[0]
    answer = client.completions.create(**ASKED, logit_bias={str(token): -100}, extra_body=own)
    biased = lm.generate(PROMPTS[0], "vanilla", max_new_tokens=80, logit_bias={token: -100.0})
    assert answer.choices[0].text == biased.text != plain
