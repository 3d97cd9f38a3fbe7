"""Drafts from earlier texts: of the same key by default, of all or of none where that is said."""

import pytest

from dynexit import DynexitError
from dynexit.decoding.earlier import EarlierTexts
from dynexit.model.native.proposing import functions
from dynexit.serve.settings import Settings

PROMPT = "The old house stood at the end of the lane, and"
METHOD = "auto:exits=false,lookup=false,table=false"

pytestmark = pytest.mark.skipif(functions() is None, reason="the native library is not built here")


def rounds(lm, client, prompt=PROMPT, **asked):
    """How many a text took; it is the one that plain decoding writes."""
    answer = client.completions.create(
        model="bundled", prompt=prompt, max_tokens=48, temperature=0, extra_body=asked
    )
    expected = lm.generate(prompt, "vanilla", max_new_tokens=48)
    assert answer.choices[0].text == expected.text
    return answer.dynexit["rounds"]


def sources(client):
    stream = client.completions.create(
        model="bundled",
        prompt=PROMPT,
        max_tokens=48,
        temperature=0,
        stream=True,
        extra_body={"dynexit": {"trace": True}},
    )
    told = (chunk.dynexit for chunk in stream)
    return [token["source"] for one in told if one and "tokens" in one for token in one["tokens"]]


def test_a_second_pass_is_drafted_from_the_first(lm, serving):
    with serving(method=METHOD) as server:
        client = server.client()
        first, second = rounds(lm, client), rounds(lm, client)
        assert second < first / 2
        assert sources(client).count("earlier") > 24


@pytest.mark.parametrize(("whose", "shared"), [("own", False), ("all", True)])
def test_other_keys_and_salts(lm, serving, whose, shared):
    with serving(method=METHOD, earlier_texts=whose) as server:
        first = rounds(lm, server.client("one"))
        other = rounds(lm, server.client("other"))
        assert (other < first / 2) == shared
        assert rounds(lm, server.client("one"), cache_salt="mine") == first
        assert rounds(lm, server.client("one")) < first / 2


def test_none_are_kept_where_that_is_said(lm, serving):
    with serving(method=METHOD, earlier_texts="none") as server:
        client = server.client()
        assert rounds(lm, client) == rounds(lm, client)
        assert server.service.earlier.bytes == 0


def test_a_text_that_is_given_up_is_not_kept(serving):
    with serving(method=METHOD) as server:
        client = server.client()
        asked = {"model": "bundled", "prompt": PROMPT, "temperature": 0}
        stream = client.completions.create(**asked, max_tokens=400, stream=True)
        next(iter(stream))
        stream.close()
        assert isinstance(server.service.earlier, EarlierTexts)
        answer = client.completions.create(**asked, max_tokens=8)
        assert answer.dynexit["rounds"] == 7


def test_whose_they_are_is_one_of_three():
    with pytest.raises(DynexitError, match="earlier_texts is 'mine': it must be own, all, none"):
        Settings(earlier_texts="mine")
