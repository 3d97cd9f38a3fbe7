"""The whole of a model that several processes hold, in rank 0: where decoding sees it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from signal import SIG_DFL, SIGINT, SIGTERM, Signals, raise_signal, signal
from threading import RLock, current_thread, main_thread
from typing import Any
from weakref import finalize

import torch
from torch import Tensor

from dynexit.errors import DynexitError, reason
from dynexit.model.draft_tokens import DraftTokens
from dynexit.model.drafting import Drafted
from dynexit.model.drafting_rule import DraftingRule
from dynexit.model.interface import Cache, Span
from dynexit.model.ranks.cache import SharedCache
from dynexit.model.ranks.group import Ranks
from dynexit.model.ranks.member import Member, Wanted
from dynexit.model.ranks.messages import CacheNumber, Call, send
from dynexit.model.ranks.shard import Shard
from dynexit.model.readings import Readings
from dynexit.model.skips import Skips
from dynexit.model.weighing import Weighed


class Caller:
    """Announces calls to all processes and runs them in this one. Threads take turns."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks, self.member, self.numbers = ranks, Member(ranks), count(1)
        self.dropped: list[int] = []
        self._turn = RLock()

    @torch.inference_mode()
    def call(self, model: int | None, name: str, *arguments: Any) -> Any:
        """Run a method of `Shard` in all processes, or of `Member`; returns this one's result."""
        with self._turn, _undisturbed():
            gone = tuple(self.dropped)
            del self.dropped[: len(gone)]
            call = Call(model, name, arguments, gone, self.member.read_so_far)
            call = send(self.ranks, call, _number_of, self.member.cache)
            try:
                return self.member.run(call)
            except DynexitError:
                raise
            except Exception as error:  # the others are somewhere inside the call
                self.ranks.watch.lost(
                    f"process 0 of {self.ranks.size} has failed: {reason(error)}."
                )


def _number_of(found: Any) -> CacheNumber | None:
    return found.number if isinstance(found, SharedCache) else None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let an interrupt or SIGTERM wait: the other processes would be left inside the call."""
    if current_thread() is not main_thread():
        yield
        return
    come: list[int] = []
    before = {n: signal(n, lambda number, frame: come.append(number)) for n in (SIGINT, SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal(number, handler or SIG_DFL)
        if come:
            raise_signal(Signals(come[0]))


class Sharded(Weighed):
    """See `interface.Configured`. Passes run in PyTorch, operation by operation."""

    rows_independent = False

    def __init__(self, caller: Caller, wanted: Wanted) -> None:
        self._caller, self._number = caller, next(caller.numbers)
        self._own: Shard
        self._own, self._held = caller.call(None, "load", self._number, wanted)
        finalize(self, caller.dropped.append, self._number)
        self.config, self.dtype = wanted.config, wanted.dtype
        self.device, self.devices = self._own.device, [self._own.device]
        self.runtime_name = f"eager, {caller.ranks.size} ranks"

    @property
    def vocabulary_size(self) -> int:
        """See `interface.Model`."""
        return self._own.vocabulary_size

    @vocabulary_size.setter
    def vocabulary_size(self, tokens: int) -> None:
        self._call("resize", tokens)

    def draft_by(self, chosen: DraftTokens) -> None:
        """See `interface.Model`."""
        self._call("draft_by", chosen)
        self.draft_tokens = self._own.draft_tokens

    def new_cache(self) -> SharedCache:
        """An empty cache for one sequence."""
        caller = self._caller
        number = CacheNumber(next(caller.numbers), self._number)
        own, size = caller.member.cache(number), caller.ranks.size
        cache = SharedCache(number, own, self._call_cache, size)
        finalize(cache, caller.dropped.append, number.number)
        return cache

    def rows(self, spans: Sequence[Span]) -> list[Span]:
        """See `interface.Model`: each process makes its own of them."""
        return list(spans)

    def embed(self, tokens: Sequence[int] | Tensor) -> Tensor:
        """See `interface.Model`."""
        hidden: Tensor = self._call("embed", tokens if isinstance(tokens, Tensor) else list(tokens))
        return hidden

    def run_layers(
        self,
        hidden: Tensor,
        rows: list[Span],
        start: int,
        stop: int,
        states: list[Tensor] | None = None,
        keep: int | None = None,
        skips: Skips | None = None,
    ) -> Tensor:
        """See `interface.Model`."""
        if start == stop:
            return hidden
        watched = states is not None
        left: Tensor
        left, taken = self._call("segment", hidden, rows, (start, stop), watched, keep, skips)
        if states is not None:
            states += taken
        return left

    def unembed(self, hidden: Tensor, limit: int | None = None) -> Tensor:
        """See `interface.Model`."""
        logits: Tensor = self._call("unembed", hidden, limit)
        return logits

    def read(self, hidden: Tensor, limit: int | None = None) -> Readings:
        """See `interface.Model`."""
        found: Readings = self._call("read", hidden, limit)
        return found

    def verify(
        self, given: list[int] | Tensor, span: Span, start: int, stop: int
    ) -> Tensor | Readings:
        """See `interface.Model`."""
        found: Readings = self._call("verify", given, span, start, stop)
        return found

    def draft(
        self, cache: Cache, start: int, token: int, rule: DraftingRule, states: bool
    ) -> Drafted:
        """See `interface.Model`."""
        drafted: Drafted = self._call("draft", cache, start, token, rule, states)
        return drafted

    def candidates(
        self, hidden: Tensor, count: int, limit: int | None
    ) -> list[list[tuple[int, float]]]:
        """See `interface.Model`."""
        found: list[list[tuple[int, float]]] = self._call("candidates", hidden, count, limit)
        return found

    @property
    def rank_bytes(self) -> list[int]:
        """See `interface.Configured`."""
        return self._held

    def readers(self, memory: Tensor) -> list[Callable[[], object]]:
        """See `interface.Configured`.

        Raises:
            DynexitError: memory is measured in one process.
        """
        del memory
        raise DynexitError("a roofline is measured in one process: run it without torchrun.")

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._caller.call(self._number, name, *arguments)

    def _call_cache(self, cache: SharedCache, name: str, *arguments: Any) -> Any:
        return self._caller.call(None, name, cache, *arguments)
