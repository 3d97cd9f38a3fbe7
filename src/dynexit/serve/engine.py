"""One thread owns the model and runs the rounds of all texts; requests come through a queue.

Texts start in the order of their arrival, `Settings.running` at a time, and take turns at their
rounds. Between two forward passes, the thread drops work that was cancelled or is past its
deadline.
"""

import logging
from collections import deque
from collections.abc import Sequence
from threading import Condition, Thread
from time import monotonic
from typing import Any

from dynexit.decoding.requests import Steps
from dynexit.decoding.scheduler import Scheduler, Task
from dynexit.model.interface import Model
from dynexit.serve.errors import deadline_passed, queue_full, shutting_down
from dynexit.serve.metrics import Metrics
from dynexit.serve.settings import Settings
from dynexit.serve.work import Failed, Finished, Work

log = logging.getLogger("dynexit.serve")


class Engine:
    """Runs work until it is closed. `submit`, `close` and the properties are for any thread."""

    def __init__(self, model: Model, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._scheduler = Scheduler(model, settings.batched)
        self._running: list[Work] = []  # between two of its rounds, too
        self._waiting: deque[Work] = deque()
        self._changed = Condition()
        self._ends: float | None = None  # when what still runs is given up
        self._thread = Thread(target=self._run, name="dynexit-engine", daemon=True)
        metrics.watch(lambda: self.running, lambda: self.waiting)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def running(self) -> int:
        """Texts that are being decoded."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Texts that wait for their turn."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether work is being done, or would be."""
        return self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        """Whether the end has been announced."""
        return self._ends is not None

    def submit(self, works: Sequence[Work]) -> None:
        """Queue all of `works`, or none.

        Raises:
            ApiError: the queue is full, or the server is about to end.
        """
        with self._changed:
            if self.stopping or not self.alive:
                raise shutting_down()
            free = self._settings.running - len(self._running)
            if len(self._waiting) + len(works) > self._settings.queue + max(free, 0):
                raise queue_full(len(self._waiting))
            self._waiting.extend(works)
            self._changed.notify()

    def stop(self) -> None:
        """Take nothing more on; what runs or waits has `Settings.grace` seconds to finish."""
        with self._changed:
            if self._ends is None:
                self._ends = monotonic() + self._settings.grace
            self._changed.notify()

    def close(self) -> None:
        """`stop`, and wait for the end."""
        self.stop()
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._take_on():
                self._let_go()
                for task in self._scheduler.tick():
                    self._settle(task)
        except Exception:
            log.exception("the engine has failed")
        finally:
            self.stop()
            self._fail_all(shutting_down())

    def _take_on(self) -> bool:
        """Fill free places from the queue; sleep while there is nothing to do. False at the end."""
        with self._changed:
            while not (self._running or self._waiting or self.stopping):
                self._changed.wait()
            free = self._settings.running - len(self._running)
            taken = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
            self._running += taken
            over = self._ends is not None and monotonic() > self._ends
        for work in taken:
            self._run_next(work, work.steps())
        return not over and bool(self._running or not self.stopping)

    def _run_next(self, work: Work, steps: Steps[Any]) -> None:
        together = len(self._running)
        work.share(self._scheduler.batch_size(together), together > 1)
        work.task = self._scheduler.add(steps)

    def _let_go(self) -> None:
        for work in [work for work in self._running if work.cancelled or work.expired]:
            self._running.remove(work)
            assert work.task is not None
            self._scheduler.drop(work.task)
            self._refuse(work)
        with self._changed:
            gone = [work for work in self._waiting if work.cancelled or work.expired]
            if gone:
                self._waiting = deque(work for work in self._waiting if work not in gone)
        for work in gone:
            self._refuse(work)

    def _refuse(self, work: Work) -> None:
        if work.cancelled:
            work.end("cancelled")
            return
        work.end("deadline")
        work.deliver(Failed(deadline_passed(work.seconds)))

    def _settle(self, task: Task[Any]) -> None:
        """Steps have ended: go on with the next ones, or tell how it ended."""
        work = next(work for work in self._running if work.task is task)
        following = work.take(task.result) if task.error is None else None
        if following is not None:
            self._run_next(work, following)
            return
        self._running.remove(work)
        if task.error is not None:
            work.end("error")
        work.deliver(Finished(work.result) if task.error is None else Failed(task.error))

    def _fail_all(self, error: Exception) -> None:
        with self._changed:
            left = [*self._running, *self._waiting]
            self._running.clear()
            self._waiting.clear()
        for work in left:
            work.end("shutdown")
            work.deliver(Failed(error))
