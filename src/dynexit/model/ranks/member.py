"""A process's parts of models and caches, and the calls that it runs on them."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from dynexit.errors import DynexitError, reason
from dynexit.model.config import ModelConfig
from dynexit.model.loading import filled_modules, made_without_memory
from dynexit.model.ranks.cache import CachePart
from dynexit.model.ranks.cuts import Cut
from dynexit.model.ranks.group import Ranks
from dynexit.model.ranks.messages import CacheNumber, Call
from dynexit.model.ranks.shard import Shard
from dynexit.model.weight_files import check_weights


class Wanted(NamedTuple):
    """A model to be loaded.

    Attributes:
        device: cpu or cuda.
        threads: of each process.
    """

    folder: Path
    config: ModelConfig
    dtype: torch.dtype
    device: str
    threads: int


class Member:
    """Runs the same calls as the members in the other processes.

    Attributes:
        device: of the model that was loaded last.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks, self.device = ranks, torch.device("cpu")
        self._shards: dict[int, Shard] = {}
        self._caches: dict[CacheNumber, CachePart] = {}

    @property
    def read_so_far(self) -> int:
        """A checksum of all tokens that its models have read."""
        return sum(shard.read_so_far for shard in self._shards.values())

    def cache(self, number: CacheNumber) -> CachePart:
        """A cache by its number, empty where it is new."""
        if number not in self._caches:
            self._caches[number] = self._shards[number.model].new_cache()
        return self._caches[number]

    def run(self, call: Call) -> Any:
        """Run a call.

        Raises:
            DynexitError: in all processes, so they go on.
        """
        for number in call.dropped:
            self._forget(number)
        if call.model is not None:
            return getattr(self._shards[call.model], call.name)(*call.arguments)
        if call.name == "load":
            return self._load(*call.arguments)
        cache, *arguments = call.arguments
        return getattr(cache, call.name)(*arguments)

    def _forget(self, number: int) -> None:
        self._shards.pop(number, None)
        for one in [one for one in self._caches if number in one]:
            del self._caches[one]

    def _load(self, number: int, wanted: Wanted) -> tuple[Shard, list[int]]:
        """Load a part of a model; returns it, and the bytes of each process's part."""
        shard, trouble = None, ""
        try:
            shard = load_shard(wanted, self.ranks)
        except DynexitError as error:
            trouble = str(error)
        except (RuntimeError, MemoryError, OSError) as error:
            trouble = f"{wanted.folder} cannot be loaded: {reason(error)}."
        self.ranks.agree(trouble)
        assert shard is not None
        self._shards[number], self.device = shard, shard.device
        held = sum(p.nbytes for p in shard.parameters())
        return shard, [int(told) for told in self.ranks.compare(str(held).encode())]


def load_shard(wanted: Wanted, ranks: Ranks) -> Shard:
    """Read this process's part of a checkpoint, and no more.

    Raises:
        DynexitError: as `load_model`, or this process has no device.
    """
    torch.set_num_threads(wanted.threads)
    device = ranks.device(wanted.device)
    check_weights(wanted.folder, wanted.config)
    cut = Cut(wanted.config, ranks.rank, ranks.size)
    shard = made_without_memory(lambda: Shard(cut, ranks), wanted.dtype)
    for _ in filled_modules(shard, wanted.folder, device, share=cut):
        pass
    return shard
