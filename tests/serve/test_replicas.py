"""The application on a local Ray cluster: the same routes, the same texts."""

from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from replicated import served
from running import PROMPTS

from dynexit import DynexitError
from dynexit.serve.replicas import Checkpoint, Replicas

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client():
    """Two replicas."""
    with served(Checkpoint(device="cpu", threads=1), Replicas(2, 2)) as asking:
        yield asking


def test_replicas_write_what_one_process_writes(lm, client):
    def ask(prompt):
        chunks = list(
            client.completions.create(
                model="bundled", prompt=prompt, max_tokens=16, temperature=0.8, seed=2, stream=True
            )
        )
        assert len(chunks) > 3  # a stream, not a whole
        return "".join(chunk.choices[0].text for chunk in chunks)

    prompts = PROMPTS * 4
    with ThreadPoolExecutor(len(prompts)) as threads:
        texts = list(threads.map(ask, prompts))
    assert texts == [
        lm.generate(prompt, max_new_tokens=16, temperature=0.8, seed=2).text for prompt in prompts
    ]


def test_refusals_are_the_same(client):
    assert client.models.list().data[0].id == "bundled"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.BadRequestError, match="the prompt is empty"):
        client.completions.create(model="bundled", prompt="")
    with pytest.raises(openai.NotFoundError, match="no other"):
        client.completions.create(model="other", prompt="x")


def test_numbers_of_replicas_are_checked():
    with pytest.raises(DynexitError, match="3 to 2 replicas"):
        Replicas(3, 2)
