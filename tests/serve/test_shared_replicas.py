"""A replica on a local Ray cluster whose model two processes hold together."""

import time

import openai
import psutil
import pytest
from replicated import served
from running import PROMPTS

import dynexit
from dynexit.serve.replicas import Checkpoint, Replicas

pytestmark = pytest.mark.slow


def test_a_replica_of_two_processes_and_the_next_one():
    """Each in its bundle of a placement group. Where one dies, a new replica comes."""
    ray = pytest.importorskip("ray", exc_type=ImportError)
    prompt, options = PROMPTS[1], {"max_tokens": 16, "temperature": 0}
    lone = dynexit.load(device="cpu", dtype="fp32", runtime="eager", check=False)
    expected = lone.generate(prompt, max_new_tokens=16).text
    with served(Checkpoint(device="cpu", dtype="fp32"), Replicas(ranks=2)) as asking:
        (group,) = ray.util.placement_group_table().values()
        assert group["bundles"] == {0: {"CPU": 1.0}, 1: {"CPU": 1.0}}
        reply = asking.completions.create(model="bundled", prompt=prompt, **options)
        assert reply.choices[0].text == expected
        (helper,) = [p for p in psutil.process_iter() if p.name().startswith("ray::Helper")]
        helper.kill()
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                again = asking.completions.create(model="bundled", prompt=prompt, **options)
                break
            except openai.APIError:
                time.sleep(1)
        assert again.choices[0].text == expected
