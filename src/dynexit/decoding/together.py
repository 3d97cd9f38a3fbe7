"""Several sequences to their ends, in passes that they share.

Not responsible for sequences that come and go while others run: see `serve/engine.py`.
"""

from collections.abc import Sequence
from typing import Any

from dynexit.decoding.scheduler import Scheduler, Task
from dynexit.decoding.sequence import Decoding


def generate_together(sequences: Sequence[Decoding], scheduler: Scheduler) -> None:
    """Run sequences of the scheduler's model until each has ended, a round of each in turn.

    Seconds in their statistics are the clock's: those of others in a shared pass are among them.
    A sequence lets go of its cache as it ends.

    Raises:
        Exception: what ends one of them ends all.
    """
    running: dict[Task[Any], Decoding] = {}

    def go_on(sequence: Decoding, others: int) -> None:
        steps = sequence.round() if sequence.chunks else sequence.prefill()
        sequence.batch_size = scheduler.batch_size(others + 1)
        running[scheduler.add(steps)] = sequence

    for sequence in sequences:
        go_on(sequence, len(sequences) - 1)
    while running:
        for task in scheduler.tick():
            if task.error is not None:
                raise task.error
            sequence = running.pop(task)
            if sequence.finish_reason is None:
                go_on(sequence, len(running))
            else:
                sequence.release()
