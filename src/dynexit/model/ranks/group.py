"""The processes that hold a model together, and what they exchange.

Not responsible for what is computed. On CUDA devices tensors go through NCCL, else through Gloo;
calls, and all that is about processes, through Gloo.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from dynexit.errors import DynexitError, reason
from dynexit.model.ranks.joined import set_joined
from dynexit.model.ranks.watching import Watch

EVER = timedelta(days=365)  # that a process may wait for the next call; deaths are seen otherwise
ROOM = 4096  # bytes of a message that is sent in one piece


class Seat(NamedTuple):
    """A process's place in a group.

    Attributes:
        address: where they meet, as `torch.distributed.init_process_group` takes it.
        card: the number of its device on this machine.
    """

    rank: int
    size: int
    address: str = "env://"
    card: int = 0


class Ranks:
    """A group that this process has joined."""

    def __init__(self, seat: Seat, tell: Callable[[str], None]) -> None:
        self.rank, self.size, self.card = seat.rank, seat.size, seat.card
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(
            backend, seat.address, rank=seat.rank, world_size=seat.size, timeout=EVER
        )
        self._control = dist.new_group(backend="gloo", timeout=EVER)
        watched = dist.new_group(backend="gloo", timeout=EVER)
        assert watched is not None
        self.watch = Watch(seat.rank, seat.size, watched, tell)

    def device(self, kind: str) -> torch.device:
        """The processor, or the card of this process.

        Raises:
            DynexitError: there are fewer cards than processes.
        """
        if kind != "cuda":
            return torch.device(kind)
        if self.card >= (cards := torch.cuda.device_count()):
            raise DynexitError(
                f"process {self.rank} of {self.size} has no card: this machine has {cards}; start "
                "as many processes as cards, or use --device cpu."
            )
        torch.cuda.set_device(self.card)
        return torch.device("cuda", self.card)

    def add_up(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by the sum of all processes' tensors of its place; returns it."""
        self._exchange(lambda: dist.all_reduce(tensor))
        return tensor

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """All processes' tensors of this shape, by rank."""
        every = [torch.empty_like(tensor) for _ in range(self.size)]
        self._exchange(lambda: dist.all_gather(every, tensor.contiguous()))
        return every

    def share(self, tensor: Tensor) -> None:
        """Fill a contiguous tensor with rank 0's."""
        if tensor.numel():
            self._exchange(lambda: dist.broadcast(tensor, 0))

    def announce(self, message: bytes | None) -> bytes:
        """Rank 0's message to all; the others give None. They may wait for it for hours."""
        first = torch.zeros(ROOM, dtype=torch.uint8)
        if message is not None:
            whole = len(message).to_bytes(8, "little") + message
            _write(first, whole[:ROOM])
        self._exchange(lambda: dist.broadcast(first, 0, group=self._control))
        length = int.from_bytes(first[:8].numpy().tobytes(), "little")
        start = first[8 : 8 + length].numpy().tobytes()
        if len(start) == length:
            return start
        rest = torch.empty(length - len(start), dtype=torch.uint8)
        if message is not None:
            _write(rest, message[len(start) :])
        self._exchange(lambda: dist.broadcast(rest, 0, group=self._control))
        return start + rest.numpy().tobytes()

    def compare(self, message: bytes) -> list[bytes]:
        """What each process says, by rank; the first kB of it. It waits for the last."""
        own = torch.zeros(ROOM, dtype=torch.uint8)
        _write(own, message[: ROOM // 4])
        every = [torch.empty_like(own) for _ in range(self.size)]
        self._exchange(lambda: dist.all_gather(every, own, group=self._control))
        return [one.numpy().tobytes().rstrip(b"\0") for one in every]

    def agree(self, trouble: str) -> None:
        """Go on where no process has trouble; else all stop.

        Raises:
            DynexitError: the trouble of the first process that has any.
        """
        if first := next((told for told in self.compare(trouble.encode()) if told), b""):
            raise DynexitError(first.decode(errors="ignore"))

    def _exchange(self, run: Callable[[], object]) -> None:
        try:
            run()
        except RuntimeError as error:
            self.watch.lost(f"the exchange between the processes has failed: {reason(error)}.")


_joined: list[Ranks] = []


def join(seat: Seat, tell: Callable[[str], None]) -> Ranks:
    """Join a group, as soon as all its processes do.

    Args:
        tell: prints the sentence with which this process ends where another has died.
    """
    _joined.append(Ranks(seat, tell))
    set_joined(seat.size)
    return _joined[0]


def current() -> Ranks | None:
    """The group that this process has joined, if any."""
    return _joined[0] if _joined else None


def leave(code: int = 0) -> None:
    """End the other processes with an exit code; this one goes on alone."""
    if _joined:
        set_joined(1)
        _joined.pop().watch.leave(code)
        dist.destroy_process_group()


def _write(room: Tensor, text: bytes) -> None:
    if text:
        room[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
