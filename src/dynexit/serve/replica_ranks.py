"""A replica whose model several processes hold together: one Ray actor beside it for each.

Not responsible for where they run: Ray places a replica and its actors by the replica's group of
bundles, one bundle for each process.
"""

import logging
import socket
from typing import Any

from dynexit.model.ranks.group import Seat, current, join
from dynexit.model.ranks.working import work

log = logging.getLogger("dynexit.serve")


class Helper:
    """What runs in an actor: a process other than rank 0."""

    def help(self, seat: Seat) -> None:
        """Run what rank 0 announces. The process ends with rank 0, or when a call fails."""
        work(join(seat, log.error))


def join_helpers(size: int, cpus: float, gpus: float) -> None:
    """In a replica: start an actor in each of its other bundles, and be rank 0 of them all.

    The death of any of these processes ends the others, and Ray starts another replica.
    """
    import ray
    from ray.util import get_node_ip_address
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    if current() is not None:  # built again in the same process
        return
    group = ray.util.get_current_placement_group()
    address = f"tcp://{get_node_ip_address()}:{_free_port()}"
    for rank in range(1, size):
        bundle = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
        options = {"num_cpus": cpus, "num_gpus": gpus, "scheduling_strategy": bundle}
        actor: Any = ray.remote(**options)(Helper).remote()
        _actors.append(actor)
        actor.help.remote(Seat(rank, size, address))
    join(Seat(0, size, address), log.error)


_actors: list[Any] = []  # Ray ends an actor that nobody knows


def _free_port() -> int:
    with socket.create_server(("", 0)) as free:
        port: int = free.getsockname()[1]
    return port
