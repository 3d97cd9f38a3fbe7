"""The application on a local Ray cluster: the same routes, the same texts."""

from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from running import METHOD, PROMPTS

from dynexit import DynexitError
from dynexit.serve.replicas import Checkpoint, Replicas, application
from dynexit.serve.server import open_socket
from dynexit.serve.settings import Settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client():
    """Two replicas on this machine."""
    pytest.importorskip("ray.serve", exc_type=ImportError)
    import ray
    from ray import serve

    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    try:
        with open_socket("127.0.0.1", 0) as free:
            port = free.getsockname()[1]
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        settings = Settings(method=METHOD, api_key="secret")
        checkpoint = Checkpoint(device="cpu", threads=1)
        serve.run(application(checkpoint, settings, Replicas(2, 2)), route_prefix="/")
        yield openai.OpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key="secret", max_retries=0, timeout=120
        )
    finally:
        serve.shutdown()
        ray.shutdown()


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
