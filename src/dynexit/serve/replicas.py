"""The same application on a Ray cluster: replicas of the model behind one address.

Not responsible for a replica's inside: each is `app.create_app` with a model and an engine of its
own. Ray chooses the replica of a request, and starts and stops replicas by their load.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dynexit.errors import DynexitError
from dynexit.serve.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

NAME = "dynexit"


@dataclass(frozen=True)
class Checkpoint:
    """What every replica loads, by arguments of `dynexit.load`."""

    model: str | None = None
    dtype: str | None = None
    device: str | None = None
    runtime: str | None = None
    threads: int | None = None
    draft_model: str | None = None
    learned: str | bool | None = None


@dataclass(frozen=True)
class Replicas:
    """How many, and on what.

    Args:
        least: that always run.
        most: that may run; more start while requests wait, and end when they are idle.
        cpus: that each process of one is given; None is its threads.
        gpus: that each process of one is given.
        ranks: processes that hold a replica's model together, each a share of it.
    """

    least: int = 1
    most: int = 1
    cpus: float | None = None
    gpus: float = 0.0
    ranks: int = 1

    def __post_init__(self) -> None:
        if self.ranks < 1:
            raise DynexitError(f"{self.ranks} processes per replica are too few: give 1 or more.")
        if not 1 <= self.least <= self.most:
            raise DynexitError(
                f"{self.least} to {self.most} replicas are not possible: the minimum must be 1 or "
                "more, and the maximum no less than it."
            )


def application(checkpoint: Checkpoint, settings: Settings, replicas: Replicas) -> Any:
    """A Ray Serve application, for `ray.serve.run` or a Serve configuration file.

    Raises:
        DynexitError: Ray Serve is not installed.
    """
    serve = _ray_serve()

    cpus = checkpoint.threads or 1 if replicas.cpus is None else replicas.cpus

    def build() -> "FastAPI":
        if replicas.ranks > 1:
            from dynexit.serve.replica_ranks import join_helpers

            join_helpers(replicas.ranks, cpus, replicas.gpus)
        return _built(checkpoint, settings)

    bundle = {"CPU": cpus} | ({"GPU": replicas.gpus} if replicas.gpus else {})
    together = {"placement_group_bundles": [bundle] * replicas.ranks}
    deployment = serve.deployment(
        name=NAME,
        autoscaling_config={
            "min_replicas": replicas.least,
            "max_replicas": replicas.most,
            "target_ongoing_requests": max(1, settings.running // 2),
        },
        max_ongoing_requests=settings.running + settings.queue,
        graceful_shutdown_timeout_s=settings.grace,
        ray_actor_options={"num_cpus": cpus, "num_gpus": replicas.gpus},
        **(together if replicas.ranks > 1 else {}),
    )
    return deployment(serve.ingress(build)()).bind()


def _built(checkpoint: Checkpoint, settings: Settings) -> "FastAPI":
    """In a replica: its model and its application."""
    from dynexit.language_model import load
    from dynexit.model.threads import use_threads
    from dynexit.serve.app import create_app

    use_threads(checkpoint.threads)
    where = (checkpoint.dtype, checkpoint.device)
    lm = load(checkpoint.model, *where, runtime=checkpoint.runtime, learned=checkpoint.learned)
    name = checkpoint.draft_model
    second = None if name is None else load(name, *where, False, checkpoint.runtime)
    return create_app(lm, settings, second)


def run(
    checkpoint: Checkpoint,
    settings: Settings,
    replicas: Replicas,
    host: str,
    port: int,
    address: str | None = None,
) -> None:
    """Serve until interrupted, on a cluster, or on one that is started here.

    Args:
        address: of a running cluster; None starts Ray on this machine.
    """
    serve = _ray_serve()
    import ray

    ray.init(address, ignore_reinit_error=True, log_to_driver=False)
    try:
        serve.start(http_options={"host": host, "port": port})
        serve.run(application(checkpoint, settings, replicas), name=NAME, route_prefix="/")
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        pass
    finally:
        serve.shutdown()
        ray.shutdown()


def _ray_serve() -> Any:
    try:
        from ray import serve
    except ImportError as error:
        raise DynexitError("--ray needs Ray Serve: pip install 'dynexit[ray-serve]'.") from error
    return serve
