"""Searches by dynamic programming for the sublayers that drafts leave out, as the text is now.

Sources: CLaSp (Chen et al. 2025): the states at the newest committed position, with
and without each part of the model, compared with the whole model's; KnapSpec: attention and MLPs
apart, under a budget of measured time.
"""

from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from dynexit.decoding.drafters import Text
from dynexit.decoding.drafters.beside import beside
from dynexit.decoding.requests import Segment, Steps
from dynexit.model.interface import Model, Span
from dynexit.model.skips import Skips

UNITS = 2  # of cost, that a sublayer has on average
WIDTH = 6  # units around the budget's straight line from the first sublayer to the last
TIMES = 3  # that costs are measured; the least counts


class ClaspSearch:
    """That of one text. It measures again when the text has grown twice as long, because attention
    costs more then.
    """

    def __init__(self) -> None:
        self._costs, self._until = (UNITS, UNITS), 0

    def run(self, text: Text, model: Model, budget: float) -> Steps[Skips | None]:
        """Sublayers to leave out, so that the others take at most this share of a pass's time; None
        before the text has two committed positions.

        Committed keys and values stay as they are: see `beside`.
        """
        place = text.cache.length - 1
        if place < 1:
            return None
        if place >= self._until:
            self._costs, self._until = _measured(text, model), 2 * place
        depth = model.config.num_layers
        beam = _Beam(model.embed(text.tokens[place : place + 1] * 2), [0], [()])
        most = int(budget * depth * sum(self._costs))
        for sublayer in range(2 * depth):
            span = beside(text.cache, place, [0] * len(beam.states))
            others = Skips.of(depth, [sublayer ^ 1])
            layer = sublayer // 2
            ran = yield Segment(beam.states, span, layer, layer + 1, model=model, skips=others)
            spent = sum(self._costs[part % 2] for part in range(sublayer + 1))
            line = most * spent / (depth * sum(self._costs))
            reach = line - WIDTH, min(line + WIDTH, most)
            beam = _after(beam, ran, sublayer, self._costs[sublayer % 2], reach)
        return Skips.of(depth, beam.best())


class _Beam(NamedTuple):
    """Ways through the sublayers so far.

    Attributes:
        states: [n + 1, D], of each way, and last the whole model's.
        used: units that each way has spent.
        left_out: what each way has left out.
    """

    states: Tensor
    used: Sequence[int]
    left_out: Sequence[tuple[int, ...]]

    def best(self) -> tuple[int, ...]:
        """What the way leaves out whose states are nearest to the whole model's."""
        return self.left_out[int(_nearness(self.states[:-1], self.states[-1:]).argmax())]


def _after(beam: _Beam, ran: Tensor, sublayer: int, cost: int, reach: tuple[float, float]) -> _Beam:
    """The ways after one more sublayer: of those that spent the same, the nearest one.

    Args:
        ran: [n + 1, D], the beam's states after that sublayer.
        cost: its units.
        reach: the least and the most that a way may have spent.
    """
    states = torch.cat((beam.states[:-1], ran[:-1]))
    used = [*beam.used, *(units + cost for units in beam.used)]
    left_out = [*((*out, sublayer) for out in beam.left_out), *beam.left_out]
    near = _nearness(states, ran[-1:]).tolist()
    kept: dict[int, int] = {}
    for way, units in enumerate(used):
        if reach[0] <= units <= reach[1] and (units not in kept or near[way] > near[kept[units]]):
            kept[units] = way
    ways = [*kept.values()]
    whole = torch.cat((states[ways], ran[-1:]))
    return _Beam(whole, [*kept], [left_out[way] for way in ways])


def _nearness(states: Tensor, whole: Tensor) -> Tensor:
    """Cosine similarity of states [n, D] and [1, D]; of what is not a number, the least."""
    return cosine_similarity(states.float(), whole.float()).nan_to_num(-1.0)


def _measured(text: Text, model: Model) -> tuple[int, int]:
    """Units that attention and MLP of a layer cost, from their seconds for one row."""
    depth, at = model.config.num_layers, text.cache.length
    hidden, seconds = model.embed(text.tokens[at : at + 1]), []
    for others in (1, 0):
        skips = Skips.of(depth, range(others, 2 * depth, 2))
        taken = []
        for _ in range(TIMES):
            began, rows = perf_counter(), model.rows([Span(text.cache, at, 1)])
            float(model.run_layers(hidden, rows, 0, depth, None, None, skips)[0, 0])  # waits
            taken.append(perf_counter() - began)
        seconds.append(min(taken))
    attention, mlp = (max(1, round(2 * UNITS * one / sum(seconds))) for one in seconds)
    return attention, mlp
