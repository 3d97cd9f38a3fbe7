"""Ends the processes of a group together: within moments of the death of one of them.

Between rank 0 and each other process, a receipt is pending that only a farewell fulfils. It fails
at once where the other process has died, however it died, since the system then closes its
connection. Nothing is timed: a process that is busy or idle for hours is not taken for dead.
"""

import os
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

FAREWELL = 512  # bytes: an exit code, then a sentence
LOST = 1  # exit code where another process has died
PATIENCE = 3.0  # seconds in which a failed exchange is found to be a process's death


class Watch:
    """Of one process over those whose death ends it: rank 0 watches all, the others rank 0.

    Args:
        tell: prints a sentence.
        group: used for nothing else.
    """

    def __init__(
        self, rank: int, size: int, group: dist.ProcessGroup, tell: Callable[[str], None]
    ) -> None:
        self._rank, self._size, self._group, self._tell = rank, size, group, tell
        self._peers = range(1, size) if rank == 0 else range(1)
        self._leaving, self._ending, self._dead = Event(), Lock(), Event()
        self._threads = [
            Thread(target=self._await_farewell, args=(peer,), daemon=True) for peer in self._peers
        ]
        for thread in self._threads:
            thread.start()

    def leave(self, code: int = 0, sentence: str = "") -> None:
        """Say farewell. The others end with this exit code where it is rank 0 that leaves; rank 0
        ends with the sentence of another process that does.
        """
        if self._dead.is_set():
            self._wait_for_the_end()
        self._leaving.set()
        self._say_farewell(code, sentence)
        for thread in self._threads:
            thread.join(PATIENCE)

    def lost(self, sentence: str) -> NoReturn:
        """An exchange with the others has failed: end, saying who has died, or else this."""
        self._dead.wait(PATIENCE)
        self._end(sentence)

    def _await_farewell(self, peer: int) -> None:
        told = torch.zeros(FAREWELL, dtype=torch.uint8)
        try:
            dist.recv(told, peer, group=self._group)
        except (RuntimeError, ValueError):  # or the group is gone, after leaving
            if not self._leaving.is_set():
                self._end(f"process {peer} of {self._size} has died; so all of them end.")
            return
        code, sentence = int(told[0]), bytes(told[1:].tolist()).rstrip(b"\0").decode()
        if self._rank:
            os._exit(code)
        if not self._leaving.is_set():
            self._end(f"process {peer} of {self._size} has ended: {sentence}")

    def _end(self, sentence: str) -> NoReturn:
        """Print the sentence, where no other process does; end this process and the others."""
        self._dead.set()
        with self._ending:  # once
            if self._rank <= 1:  # rank 1 speaks where rank 0 cannot
                self._tell(sentence)
            self._say_farewell(LOST)
            os._exit(LOST)

    def _wait_for_the_end(self) -> NoReturn:
        with self._ending:
            os._exit(LOST)

    def _say_farewell(self, code: int, sentence: str = "") -> None:
        words = sentence.encode()[: FAREWELL - 1].decode(errors="ignore").encode()
        told = bytes([code]) + words.ljust(FAREWELL - 1, b"\0")
        for peer in self._peers:
            self._send(torch.frombuffer(bytearray(told), dtype=torch.uint8), peer)

    def _send(self, told: Tensor, peer: int) -> None:
        try:
            dist.send(told, peer, group=self._group)
        except (RuntimeError, ValueError):  # it has gone before
            return
