"""What clients send besides: limits, headers, HEAD, and what a request leaves in the log."""

import json
import logging
import re
import urllib.error
import urllib.request
from pathlib import Path

import openai
import pytest
from asking import ASKED, post
from running import PROMPTS
from test_load import until

import dynexit
from dynexit.methods import lossless_methods

METHODS = lossless_methods(20, second=None)


@pytest.mark.parametrize("method", METHODS)
def test_limits_are_those_of_the_library(lm, client, method):
    ids = lm.generate(PROMPTS[0], "vanilla", max_new_tokens=24, ignore_eos=True).token_ids
    stop = ids[6]
    expected = {
        "ignore_eos": {"ignore_eos": True},
        "min_tokens": {"min_new_tokens": 10, "stop_token_ids": [stop]},
        "stop_token_ids": {"stop_token_ids": [stop]},
    }
    more = {
        "ignore_eos": {"ignore_eos": True},
        "min_tokens": {"min_tokens": 10, "stop_token_ids": [stop]},
        "stop_token_ids": {"stop_token_ids": [stop]},
    }
    for case, extra in more.items():
        answer = client.completions.create(
            **{**ASKED, "max_tokens": 24}, extra_body={**extra, "dynexit": {"method": method}}
        )
        alone = lm.generate(PROMPTS[0], "vanilla", max_new_tokens=24, **expected[case])
        assert answer.choices[0].text == alone.text
        assert answer.usage.completion_tokens == len(alone.token_ids)
        least = {"ignore_eos": 24, "min_tokens": 10, "stop_token_ids": 0}[case]
        assert answer.usage.completion_tokens >= least


def test_the_checkpoints_own_sampling_on_a_switch(lm, serving, tmp_path):
    for file in Path(dynexit.__file__).parent.joinpath("bundled").iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "generation_config.json").unlink()
    own = {"temperature": 0.6, "top_k": 7, "top_p": 0.9, "eos_token_id": 0, "do_sample": True}
    asked = {"model": "bundled", "prompt": PROMPTS[0], "max_tokens": 16, "seed": 4}
    for told, rule in (
        (own, {"temperature": 0.6, "top_k": 7, "top_p": 0.9}),
        ({**own, "do_sample": False}, {"temperature": 0.0, "top_k": 7, "top_p": 0.9}),
        ({"eos_token_id": 0}, {"temperature": 1.0}),
    ):
        (tmp_path / "generation_config.json").write_text(json.dumps(told))
        model = dynexit.load(tmp_path, device="cpu", check=False)
        with serving(model, name="bundled", generation_config=True) as server:
            text = server.client().completions.create(**asked).choices[0].text
            assert text == lm.generate(PROMPTS[0], max_new_tokens=16, seed=4, **rule).text
            hot = server.client().completions.create(**asked, temperature=1.3).choices[0].text
            rule = {**rule, "temperature": 1.3}
            assert hot == lm.generate(PROMPTS[0], max_new_tokens=16, seed=4, **rule).text
    (tmp_path / "generation_config.json").write_text('{"top_p": "much", "eos_token_id": 0}')
    model = dynexit.load(tmp_path, device="cpu", check=False)
    with pytest.raises(dynexit.DynexitError, match=r"generation_config.json: top_p is 'much'"):
        serving(model, generation_config=True).__enter__()


def asked_from(server, origin, method="POST", path="/v1/models"):
    """Headers of the answer to a browser's question whether a page may ask."""
    headers = {"origin": origin, "access-control-request-method": method}
    headers["access-control-request-headers"] = "authorization,content-type"
    request = urllib.request.Request(server.url + path, headers=headers, method="OPTIONS")
    try:
        return urllib.request.urlopen(request).headers
    except urllib.error.HTTPError as refused:
        return refused.headers


def test_pages_of_other_origins_on_a_switch(serving, server):
    allowed = "access-control-allow-origin"
    assert allowed not in asked_from(server, "http://localhost:3000")
    with serving(cors=["http://localhost:3000"], api_key="secret") as open_server:
        assert asked_from(open_server, "http://localhost:3000")[allowed] == "http://localhost:3000"
        assert allowed not in asked_from(open_server, "http://evil.example")
        request = urllib.request.Request(
            f"{open_server.url}/v1/models",
            headers={"origin": "http://localhost:3000", "authorization": "Bearer secret"},
        )
        assert urllib.request.urlopen(request).headers[allowed] == "http://localhost:3000"


@pytest.mark.parametrize("path", ["/health", "/metrics", "/", "/v1/models"])
def test_head_is_get_without_a_body(server, path):
    request = urllib.request.Request(server.url + path, method="HEAD")
    with urllib.request.urlopen(request) as reply:
        assert (reply.status, reply.read()) == (200, b"")
        assert reply.headers["content-length"] != "0"


def test_a_body_that_says_nothing_of_its_type_is_told_which_header(server):
    for headers in ({}, {"content-type": "text/plain"}):
        status, answer = post(f"{server.url}/v1/completions", ASKED, **headers)
        assert status == 400
        assert "content-type: application/json" in answer["error"]["message"]


def test_every_request_leaves_a_line(server, caplog):
    client = server.client()
    with caplog.at_level(logging.INFO, "dynexit.serve"):
        raw = client.completions.with_raw_response.create(**ASKED)
        list(client.completions.create(**ASKED, stream=True))
        with pytest.raises(openai.BadRequestError):
            client.completions.create(**{**ASKED, "prompt": ""})
        until(lambda: len(caplog.records) >= 3)  # a line follows its reply
    lines = [one.getMessage() for one in caplog.records if one.name == "dynexit.serve"]
    answer = raw.parse()
    assert answer.id == f"cmpl-{raw.headers['x-request-id']}"
    prompt, tokens = answer.usage.prompt_tokens, answer.usage.completion_tokens
    first, second, third = lines
    assert re.match(r'127.0.0.1 "POST /v1/completions" 200 \d+\.\d{3} s, ', first)
    assert f", {prompt} + {tokens} tokens, id {raw.headers['x-request-id']}" in first
    assert f", {prompt} + {tokens} tokens, id " in second
    assert '"POST /v1/completions" 400 ' in third
    assert "tokens" not in third
    assert PROMPTS[0] not in "".join(lines)
