"""The application on a local Ray cluster: the same routes, the same texts."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import openai
import pytest
from running import METHOD, PROMPTS

import dynexit
from dynexit import DynexitError
from dynexit.serve.replicas import Checkpoint, Replicas, application
from dynexit.serve.server import open_socket
from dynexit.serve.settings import Settings

pytestmark = pytest.mark.slow


@contextmanager
def served(checkpoint, replicas):
    """A client of replicas on this machine."""
    pytest.importorskip("ray.serve", exc_type=ImportError)
    import ray
    from ray import serve

    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    try:
        with open_socket("127.0.0.1", 0) as free:
            port = free.getsockname()[1]
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        settings = Settings(method=METHOD, api_key="secret")
        serve.run(application(checkpoint, settings, replicas), route_prefix="/")
        yield openai.OpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key="secret", max_retries=0, timeout=120
        )
    finally:
        serve.shutdown()
        ray.shutdown()


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


def test_a_replica_of_two_processes_and_the_next_one(client):
    """Each in its bundle of a placement group. Where one dies, a new replica comes."""
    import psutil
    import ray
    from ray import serve

    serve.shutdown()
    ray.shutdown()
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
