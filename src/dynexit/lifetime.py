"""Ends a process together with the process that started it. It imports nothing of dynexit, so it
can run where the package is not imported.
"""

import ctypes
import os
import signal
import sys
from threading import Thread
from time import sleep

PR_SET_PDEATHSIG = 1
SECONDS = 1.0  # between two looks, where the system tells of nothing


def end_with_parent(parent: int | None = None) -> None:
    """End this process as soon as its parent has ended, even if that was killed.

    On Linux the kernel does it, whatever this process is busy with: when the parent's thread that
    started it ends. Elsewhere a thread looks for it.

    Args:
        parent: the parent's id, where it is known: it may have ended before this is called.
    """
    parent = os.getppid() if parent is None else parent
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return
    Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        sleep(SECONDS)
    os._exit(1)
