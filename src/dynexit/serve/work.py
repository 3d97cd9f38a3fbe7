"""The units of work of the engine: texts, and single questions to the model, each for a client.

Not responsible for HTTP: what happens is told to `deliver`, in the engine's thread.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from dynexit.decoding.records import Round
from dynexit.decoding.requests import Steps
from dynexit.decoding.scheduler import Task
from dynexit.decoding.sequence import Decoding
from dynexit.decoding.state import Chunk
from dynexit.serve.metrics import Metrics


@dataclass(frozen=True)
class Progress:
    """What a round, or where that is None the prefill, added to a text."""

    chunks: list[Chunk]
    round: Round | None
    seconds: float  # since the text was asked for


@dataclass(frozen=True)
class Finished:
    """The end; `result` is None for texts, whose sequence holds everything."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """The end without a result."""

    error: Exception


Event = Progress | Finished | Failed
Deliver = Callable[[Event], None]


class Work:
    """One unit of work. It runs until it ends, is cancelled, or exceeds its time.

    Args:
        seconds: the time it may take, including waiting.
    """

    def __init__(self, deliver: Deliver, seconds: float) -> None:
        self.deliver, self.seconds = deliver, seconds
        self.asked = monotonic()
        self.cancelled = False  # set by the client's side, in any thread
        self.result: Any = None
        self.task: Task[Any] | None = None  # the engine's, that runs the present steps

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return monotonic() - self.asked > self.seconds

    def steps(self) -> Steps[Any]:
        """The first steps to run."""
        raise NotImplementedError

    def take(self, result: Any) -> Steps[Any] | None:
        """Take what the last steps returned; the next ones to run, None at the end."""
        raise NotImplementedError

    def share(self, batch_size: int, awaited: bool) -> None:
        """Take, before steps run, the number of works that share passes, including this one, and
        whether any of them waits for the others' passes.
        """

    def end(self, reason: str) -> None:
        """End the work: no more steps run, and it releases all memory of the model."""


class Question(Work):
    """Steps that are run once, for their result."""

    def __init__(self, asked: Steps[Any], deliver: Deliver, seconds: float) -> None:
        super().__init__(deliver, seconds)
        self._steps = asked

    def steps(self) -> Steps[Any]:
        """These."""
        return self._steps

    def take(self, result: Any) -> None:
        """Keep the result."""
        self.result = result


class Text(Work):
    """A sequence, round after round; every round is delivered as it ends."""

    def __init__(
        self, sequence: Decoding, deliver: Deliver, seconds: float, metrics: Metrics
    ) -> None:
        super().__init__(deliver, seconds)
        self.sequence, self._metrics = sequence, metrics
        self._latest = self.asked

    def steps(self) -> Steps[list[Chunk]]:
        """The prefill."""
        return self.sequence.prefill()

    def take(self, result: list[Chunk]) -> Steps[list[Chunk]] | None:
        """Deliver a round's chunks, and go on until the text ends."""
        rounds, now = self.sequence.stats.rounds, monotonic()
        finished = rounds[-1] if rounds else None
        self._metrics.progress(result, finished, now - self._latest)
        self._latest = now
        self.deliver(Progress(result, finished, now - self.asked))
        if self.sequence.finish_reason is None:
            return self.sequence.round()
        self.end(self.sequence.finish_reason)
        return None

    def share(self, batch_size: int, awaited: bool) -> None:
        """What others share costs less, and drafts beside others are passes of their own."""
        self.sequence.batch_size, self.sequence.awaited = batch_size, awaited

    def end(self, reason: str) -> None:
        """Count the text, and let go of its cache: a traceback may keep a text for long."""
        self._metrics.finished(reason)
        self.sequence.release()
