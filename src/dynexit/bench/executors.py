"""Where shards run: in this process, in several on this machine, or on a Ray cluster."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from dynexit.bench.options import Options, Shard
from dynexit.bench.records import Record
from dynexit.errors import DynexitError
from dynexit.lifetime import end_with_parent

if TYPE_CHECKING:
    from dynexit.bench.worker import Worker

ATTEMPTS = 3  # how often a shard may lose its worker


class Executor(Protocol):
    """Runs shards and yields their records, in any order."""

    shard_size: int | None  # examples per shard; None is a task in one piece

    def run(self, options: Options, shards: Sequence[Shard]) -> Iterator[Record]:
        """Records as they come. A shard whose worker dies is run again."""


@dataclass
class Inline:
    """Our own process, one record after the other: for timings."""

    shard_size: int | None = None

    def run(self, options: Options, shards: Sequence[Shard]) -> Iterator[Record]:
        """Every record as soon as it is there."""
        worker = _new_worker(options)
        for shard in shards:
            yield from worker.run(shard)


@dataclass
class Processes:
    """Several processes of this machine. They share its memory bandwidth: not for timings."""

    workers: int
    shard_size: int | None = 2

    def run(self, options: Options, shards: Sequence[Shard]) -> Iterator[Record]:
        """A shard's records together, when it is finished."""
        left = dict(enumerate(shards))
        for _ in range(ATTEMPTS):
            try:
                for index, records in self._attempt(options, left):
                    del left[index]
                    yield from records
            except BrokenProcessPool:
                continue
            return
        raise DynexitError(_lost(left[min(left)]))

    def _attempt(
        self, options: Options, left: dict[int, Shard]
    ) -> Iterator[tuple[int, list[Record]]]:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            self.workers, context, initializer=end_with_parent, initargs=(os.getpid(),)
        ) as pool:
            futures = {pool.submit(run_shard, options, s): i for i, s in left.items()}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


@dataclass
class Cluster:
    """A Ray cluster: one task per shard, with the GPUs declared here; Ray reruns what it loses."""

    address: str
    gpus: float = 0
    shard_size: int | None = 8

    def run(self, options: Options, shards: Sequence[Shard]) -> Iterator[Record]:
        """A shard's records together, when it is finished."""
        ray = _ray()
        ray.init(self.address, ignore_reinit_error=True, log_to_driver=False)
        cpus = options.threads or 1
        remote = ray.remote(max_retries=ATTEMPTS - 1, num_gpus=self.gpus, num_cpus=cpus)(run_shard)
        waiting = {remote.remote(options, shard): shard for shard in shards}
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1)
            for reference in ready:
                shard = waiting.pop(reference)
                try:
                    yield from ray.get(reference)
                except ray.exceptions.WorkerCrashedError as error:
                    raise DynexitError(_lost(shard)) from error


def run_shard(options: Options, shard: Shard) -> list[Record]:
    """In a worker process: its model stays loaded from shard to shard."""
    return list(_worker(options).run(shard))


@cache
def _worker(options: Options) -> "Worker":
    return _new_worker(options)


def _new_worker(options: Options) -> "Worker":
    from dynexit.bench.worker import Worker  # PyTorch is imported once all is checked

    return Worker(options)


def _lost(shard: Shard) -> str:
    first, last = shard.examples[0].id, shard.examples[-1].id
    return (
        f"examples {first} to {last} of {shard.task} lost their worker {ATTEMPTS} times (killed, "
        "or out of memory); what was finished is recorded: start again to continue."
    )


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise DynexitError("--ray needs Ray: pip install 'dynexit[ray]'.") from error
    return ray
