"""Replicas on a local Ray cluster."""

from contextlib import contextmanager

import openai
import pytest
from running import METHOD

from dynexit.serve.replicas import application
from dynexit.serve.server import open_socket
from dynexit.serve.settings import Settings


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
