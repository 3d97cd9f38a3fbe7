"""Commands under torchrun: what they write, and how they end."""

import json
import os
import signal
import time

import openai
import pytest
import torch
from launched import launched
from ranked import alone

from dynexit import LanguageModel, load
from dynexit.model.places import BUNDLED

LONG = ("Once upon a time", "-n", 1_900, "--ignore-eos", "--dtype", "fp32", "--method", "vanilla")
ENDS = 10  # seconds in which the others end


def plain(prompt, **options):
    """The text of one process, by the same layers."""
    whole = load(device="cpu", runtime="eager", dtype="fp32", check=False, learned=False)
    return whole.generate(prompt, "vanilla", **options).text


def test_a_text_and_the_end_by_the_death_of_a_helper():
    prompt = "Once upon a time"
    with launched(2, "serve", "--dtype", "fp32", "--port", 0, "--method", "layerskip") as running:
        address = running.until(r"http://127\.0\.0\.1:\d+")[0]
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        asked = {"model": "bundled", "prompt": prompt}
        reply = client.completions.create(**asked, max_tokens=24, temperature=0)
        assert reply.choices[0].text == plain(prompt, max_new_tokens=24)
        stream = client.completions.create(**asked, max_tokens=1_900, stream=True)
        next(iter(stream))
        began = time.monotonic()
        running.rank(1).kill()
        assert running.wait() == 1
        assert time.monotonic() - began < ENDS
    assert running.sentences() == ["error: process 1 of 2 has died; so all of them end."]


def test_the_end_by_the_death_of_rank_0():
    with launched(2, "generate", *LONG) as running:
        running.until("(?s)time.{20}")
        began = time.monotonic()
        running.rank(0).kill()
        assert running.wait() == 1
        assert time.monotonic() - began < ENDS
    assert running.sentences() == ["error: process 0 of 2 has died; so all of them end."]
