"""A sequence's requests to the model, as data, so that a scheduler may serve several together.

Decoding is written as generators that yield requests and receive tensors. They read like straight
code, and their caller decides what runs when. `drive` is the simplest caller: one sequence alone.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from dynexit.model.drafting import Drafted
from dynexit.model.drafting_rule import DraftingRule
from dynexit.model.interface import Cache, Model, Span
from dynexit.model.readings import Readings
from dynexit.model.skips import Skips
from dynexit.model.text_tokens import TextTokens

T = TypeVar("T")


@dataclass
class Segment:
    """Run layers [start, stop) on `hidden` [n, D], the rows of `span`; answered with [n, D].

    Where `states` is given, the states that leave each layer are appended: all rows, or the last
    `keep`. `model` is the one that the sequence's text comes from, or where given, another. `skips`
    are sublayers that are left out, by a model that is `skipping`.
    """

    hidden: Tensor
    span: Span
    start: int
    stop: int
    states: list[Tensor] | None = None
    keep: int | None = None
    model: Model | None = None
    skips: Skips | None = None


@dataclass
class Unembed:
    """Logits [n, V] of `hidden` [n, D], which left a layer of `model` (as in `Segment`).

    With `best_only`, only the top tokens are needed, so the answer may be `Readings` instead.
    With `limit`, only that many tokens of the head are read, and `text_tokens` if given; other
    logits are -inf.
    """

    hidden: Tensor
    best_only: bool = False
    limit: int | None = None
    model: Model | None = None
    text_tokens: TextTokens | None = None


@dataclass
class Drafting:
    """Draft after `token`, which stands at `start`, in one go; answered with `Drafted`."""

    cache: Cache
    start: int
    token: int
    rule: DraftingRule
    states: bool = False
    model: Model | None = None


@dataclass
class Verifying:
    """Run layers [start, stop) for a span's rows and read the head; answered as `Unembed` is.

    `given` are the rows' tokens, or states [n, D] that left layer `start`.
    """

    given: list[int] | Tensor
    span: Span
    start: int
    stop: int
    model: Model | None = None


@dataclass
class Turn:
    """Wait until this prompt is the next to be read, so that it can use prefixes that others have
    computed by then. Answered with None.
    """

    model: Model | None = None


Request = Segment | Unembed | Drafting | Verifying | Turn
Answer = Tensor | Readings | Drafted | None
Steps = Generator[Request, Any, T]  # what is sent is an Answer


def serve(model: Model, request: Request) -> Answer:
    """Answer one request; `model` is the one that a request which names none is meant for."""
    model = request.model or model
    if isinstance(request, Turn):
        return None
    if isinstance(request, Drafting):
        given = (request.cache, request.start, request.token, request.rule, request.states)
        return model.draft(*given)
    if isinstance(request, Verifying):
        rows, layers = (request.given, request.span), (request.start, request.stop)
        return model.verify(*rows, *layers)
    if isinstance(request, Unembed):
        if request.text_tokens is not None:
            return read_together(model, [request], request.hidden)
        answer = model.read if request.best_only else model.unembed
        return answer(request.hidden, request.limit)
    rows, layers = model.rows([request.span]), (request.start, request.stop)
    taps = request.states, request.keep
    return model.run_layers(request.hidden, rows, *layers, *taps, request.skips)


def read_together(model: Model, requests: Sequence[Unembed], hidden: Tensor) -> Tensor | Readings:
    """Answer unembeddings of several texts' rows [n, D], all with `text_tokens`, by one pass."""
    own = [text for one in requests for text in [one.text_tokens] * len(one.hidden) if text]
    assert requests[0].limit is not None
    return model.read_with(hidden, requests[0].limit, own, requests[0].best_only)


def drive(model: Model, steps: Steps[T]) -> T:
    """Serve each request of `steps` at once. Returns what the generator returns."""
    try:
        request = next(steps)
        while True:
            request = steps.send(serve(model, request))
    except StopIteration as stop:
        result: T = stop.value
        return result
