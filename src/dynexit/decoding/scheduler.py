"""Runs several sequences at once: requests that can share a forward pass share it.

Not responsible for the order of tasks or for their results: the owner of the scheduler adds tasks
and handles those that have ended. It belongs to one thread.

Drafts go before verifications, so that rounds align: all sequences draft, and when none drafts any
more, all verify in one pass. So all sequences make rounds about equally often.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from dynexit.decoding.requests import Request, Segment, Steps, Turn, Unembed, read_together, serve
from dynexit.model.interface import Model
from dynexit.model.readings import Readings

T = TypeVar("T")
LONG = 64  # rows of a segment that gains nothing from a batch: a prompt's


@dataclass(eq=False)
class Task(Generic[T]):
    """Steps on their way. Once `done`, it holds a `result`, or the `error` that ended it.

    It then drops its request: a request holds a sequence's cache, which an ended task must not keep
    alive.
    """

    steps: Steps[T]
    request: Request | None = None
    result: T | None = None
    error: Exception | None = None
    done: bool = False


@dataclass
class _Journey:
    """A segment in a pass that several share: where it is, and what it has gathered."""

    segment: Segment
    hidden: Tensor  # [n, D]
    states: list[Tensor] = field(default_factory=list)


class Scheduler:
    """Serves the requests of any number of tasks, a pass at a time.

    Args:
        model: the one that requests which name none are meant for.
        batched: whether tasks share passes; None is where `model` computes a row alike whatever
            rows are beside it, so that sharing changes no bit of any text.
    """

    def __init__(self, model: Model, batched: bool | None = None) -> None:
        self.model = model
        self.batched = model.rows_independent if batched is None else batched
        self._tasks: list[Task[Any]] = []
        self._ended: list[Task[Any]] = []

    def __len__(self) -> int:
        return len(self._tasks)

    def batch_size(self, tasks: int) -> int:
        """How many of so many tasks share a pass."""
        return tasks if self.batched else 1

    @torch.inference_mode()
    def add(self, steps: Steps[T]) -> Task[T]:
        """Take on `steps` and run them up to their first request."""
        task = Task(steps)
        self._tasks.append(task)
        self._resume(task, partial(next, steps))
        return task

    def drop(self, task: Task[Any]) -> None:
        """Forget a task where it stands; its steps are closed."""
        task.steps.close()
        task.request, task.done = None, True
        self._tasks = [other for other in self._tasks if other is not task]

    @torch.inference_mode()
    def tick(self) -> list[Task[Any]]:
        """Let tasks make some progress; returns those that have ended.

        Together: each task whose turn it is comes one request further. In turns: the first in line
        runs to its end, or past one piece of a prompt. An error ends the task that it happened to.
        """
        going = [task for task in self._tasks if not task.done]
        if self.batched and len(going) > 1:
            self._advance_together(going)
        elif going:
            self._advance_first(going[0], whole=not self.batched)
        ended, self._ended = self._ended, []
        self._tasks = [task for task in self._tasks if not task.done]
        return ended

    def _advance_first(self, task: Task[Any], whole: bool) -> None:
        self._serve_alone(task)
        while whole and not task.done and not (_is_segment(task) and _rows(task) > LONG):
            self._serve_alone(task)

    def _advance_together(self, going: list[Task[Any]]) -> None:
        waiting = [task for task in going if not (_is_segment(task) or _awaits_turn(task))]
        for key, group in _grouped(waiting, _unembedding):
            self._serve_group(group, _unembed if key else None)
        short = [task for task in going if _is_segment(task) and _rows(task) <= LONG]
        short += self._read_prompts([task for task in going if task not in short])
        drafts = [task for task in short if self._is_draft(task)]
        for _, group in _grouped(drafts or short, _layers_of):
            self._serve_group(group, _run)

    def _read_prompts(self, going: list[Task[Any]]) -> list[Task[Any]]:
        """Run a piece of the first long prompt: rounds go on beside a queue of them. Returns those
        before it whose turn has come and that are short, or have little left to read.
        """
        short = []
        for task in going:
            turn = _awaits_turn(task)
            if turn:
                self._serve_alone(task)
            if _is_segment(task) and _rows(task) > LONG:
                self._serve_alone(task)
                break
            if turn and _is_segment(task):
                short.append(task)
        return short

    def _is_draft(self, task: Task[Any]) -> bool:
        segment = task.request
        assert isinstance(segment, Segment)
        return segment.model is not None or segment.stop < self.model.config.num_layers

    def _serve_group(
        self, tasks: list[Task[Any]], shared: "Callable[[Model, list[Any]], list[Any]] | None"
    ) -> None:
        """Serve tasks by one call where there is one; alone, where that fails or there is none."""
        answers: list[Any] | None = None
        if shared is not None and len(tasks) > 1:
            with suppress(Exception):  # served alone, the task that it comes from will meet it
                answers = shared(self.model, [task.request for task in tasks])
        for index, task in enumerate(tasks):
            if answers is None:
                self._serve_alone(task)
            else:
                self._resume(task, partial(task.steps.send, answers[index]))

    def _serve_alone(self, task: Task[Any]) -> None:
        assert task.request is not None
        try:
            answer = serve(self.model, task.request)
        except Exception as error:  # whatever a runtime may raise is this task's end
            self._resume(task, partial(task.steps.throw, error))
        else:
            self._resume(task, partial(task.steps.send, answer))

    def _resume(self, task: Task[Any], resumed: Callable[[], Request]) -> None:
        """Run a task up to its next request, or its end."""
        try:
            task.request = resumed()
        except StopIteration as stop:
            task.result, task.done = stop.value, True
        except Exception as error:  # of a controller, which may be a user's
            task.error, task.done = error, True
        if task.done:
            task.request = None
            self._ended.append(task)


def _is_segment(task: Task[Any]) -> bool:
    return isinstance(task.request, Segment)


def _awaits_turn(task: Task[Any]) -> bool:
    return isinstance(task.request, Turn)


def _rows(task: Task[Any]) -> int:
    assert isinstance(task.request, Segment)
    return task.request.span.length


def _layers_of(task: Task[Any]) -> Hashable:
    assert isinstance(task.request, Segment)
    return id(task.request.model), task.request.skips


def _unembedding(task: Task[Any]) -> Hashable:
    """What unembeddings must have in common to be one; None for another kind of request."""
    request = task.request
    if not isinstance(request, Unembed):
        return None
    return id(request.model), request.best_only, request.limit, request.text_tokens is None


def _grouped(
    tasks: Iterable[Task[Any]], key: Callable[[Task[Any]], Hashable]
) -> list[tuple[Hashable, list[Task[Any]]]]:
    groups: dict[Hashable, list[Task[Any]]] = {}
    for task in tasks:
        groups.setdefault(key(task), []).append(task)
    return list(groups.items())


def _unembed(model: Model, requests: Sequence[Unembed]) -> list[Tensor | Readings]:
    """Answer unembeddings that have everything but their rows in common."""
    first = requests[0]
    sizes = [request.hidden.shape[0] for request in requests]
    hidden = torch.cat([request.hidden for request in requests])
    if first.text_tokens is None:
        answer = serve(model, Unembed(hidden, first.best_only, first.limit, first.model))
    else:
        answer = read_together(first.model or model, requests, hidden)
    assert isinstance(answer, Tensor | Readings)
    return list(answer.split(sizes))


def _run(model: Model, segments: Sequence[Segment]) -> list[Tensor]:
    """Answer segments of one model and the same `skips` by one sweep over its layers, which each
    joins and leaves.
    """
    model = segments[0].model or model
    journeys = [_Journey(segment, segment.hidden) for segment in segments]
    marks = sorted({layer for s in segments for layer in (s.start, s.stop)})
    for start, stop in pairwise(marks):
        aboard = [j for j in journeys if j.segment.start <= start < j.segment.stop]
        if aboard:
            _run_together(model, aboard, start, stop)
    for journey in journeys:
        if journey.segment.states is not None:
            journey.segment.states += journey.states
    return [journey.hidden for journey in journeys]


def _run_together(model: Model, aboard: Sequence[_Journey], start: int, stop: int) -> None:
    """Layers [start, stop) for all of them at once."""
    sizes = [journey.segment.span.length for journey in aboard]
    watched = any(journey.segment.states is not None for journey in aboard)
    states: list[Tensor] | None = [] if watched else None
    rows = model.rows([journey.segment.span for journey in aboard])
    hidden = torch.cat([journey.hidden for journey in aboard])
    skips = aboard[0].segment.skips
    parts = model.run_layers(hidden, rows, start, stop, states, None, skips).split(sizes)
    for journey, part in zip(aboard, parts, strict=True):
        journey.hidden = part
    for state in states or []:
        for journey, part in zip(aboard, state.split(sizes), strict=True):
            if journey.segment.states is not None:
                journey.states.append(part[-(journey.segment.keep or len(part)) :])
