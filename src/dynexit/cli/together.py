"""A command in several processes that torchrun has started: one runs it, the others help it."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import NoReturn

from dynexit.cli.printing import note
from dynexit.errors import INTERRUPTED

TERMINATED = 143  # exit code, as shells have it
AGAIN = 2.0  # seconds in which a second interrupt is the same: a terminal's, and torchrun's


def is_one_of_several() -> bool:
    """Whether torchrun has started this process beside others."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def run_together(run: Callable[[], None]) -> NoReturn:
    """Run a command in rank 0. Its exit code becomes that of all processes."""
    _stop_once()
    from dynexit.model.ranks.group import Seat, join, leave
    from dynexit.model.ranks.working import work

    place = {name: int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    seat = Seat(place["RANK"], place["WORLD_SIZE"], card=place["LOCAL_RANK"])
    ranks = join(seat, lambda sentence: note("error:", "red", sentence))
    del os.environ["TORCHELASTIC_RUN_ID"]  # of no process that this one starts
    if seat.rank:
        work(ranks)
    code = _code_of(run)
    leave(code)
    _end(code)


def _code_of(run: Callable[[], None]) -> int:
    """The exit code of a command, which is run to its end."""
    try:
        run()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _stop_once() -> None:
    """Take SIGTERM for an exit, and two interrupts at once for one."""
    last = -AGAIN

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now, before = monotonic(), last
        last = now
        if now - before > AGAIN:
            raise KeyboardInterrupt

    def terminate(number: int, frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, terminate)


def _end(code: int) -> NoReturn:
    """End without the destructors of a group whose other processes have gone."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
