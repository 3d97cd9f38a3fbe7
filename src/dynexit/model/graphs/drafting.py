"""Drafts whose tokens stay on the device: the next pass is launched before the host knows them.

If only its length can end a draft, the host does not wait: the draft's numbers are sent after its
last pass and arrive together with those of verification. If confidences may end it, the host looks
at each token, but only after the token's own pass is launched. That pass is needed in any case,
since verification continues from its states. So no work is wasted, and the device is never idle.

A draft that went on after an EOS is cut when its numbers arrive.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dynexit.model.crossing import Parcel
from dynexit.model.drafting import Drafted
from dynexit.model.drafting_rule import Child, DraftingRule, Growth, Nodes
from dynexit.model.interface import Cache, Model, Span
from dynexit.model.readings import Readings


class Measures(Model, Protocol):
    """A model that can keep readings on its device."""

    def measure(self, hidden: Tensor, limit: int | None = None) -> Tensor:
        """What `read` brings to the host, [3, N]: see `numbers_of`."""


def draft(
    model: Measures, cache: Cache, start: int, token: int, rule: DraftingRule, states: bool
) -> Drafted:
    """See `interface.Model`. The last token runs through the layers, asked for or not."""
    ids = torch.full((1,), token, device=model.device)
    passes = [_run(model, ids, Span(cache, start, 1), rule.exit_layer, states)]
    numbers: list[Tensor] = []
    sent: list[Parcel] = []
    for position in range(start + 1, start + 1 + rule.depth):
        numbers.append(model.measure(passes[-1][0], rule.limit))
        if rule.reads_confidence:
            sent.append(Parcel(numbers[-1]))
        ids = numbers[-1][0].long()
        passes.append(_run(model, ids, Span(cache, position, 1), rule.exit_layer, states))
        if rule.reads_confidence and _is_over(sent, rule):
            break
    sent = sent or [Parcel(torch.cat(numbers, 1))]
    hidden, left = zip(*passes, strict=True)
    return Drafted(
        torch.cat(hidden), torch.cat(left) if states else None, lambda: _told(sent, rule)
    )


def _run(
    model: Model, ids: Tensor, span: Span, exit_layer: int, watched: bool
) -> tuple[Tensor, Tensor]:
    """The states [1, D] that leave the exit layer and, where watched, those of each, [1, E, D]."""
    states: list[Tensor] | None = [] if watched else None
    hidden = model.run_layers(model.embed(ids), model.rows([span]), 0, exit_layer, states)
    return hidden, torch.stack(states, 1) if states else hidden


def _is_over(sent: list[Parcel], rule: DraftingRule) -> bool:
    """Whether the chain that was sent so far is long enough."""
    growth, found = Growth(rule), _told(sent, rule)
    grown = (
        growth.grow([Child(row, 0, token, sure, sure)])
        for row, (token, sure) in enumerate(zip(found.tokens, found.confidences, strict=True))
    )
    return not all(grown) or growth.over or len(found.tokens) < len(sent)


def _told(sent: list[Parcel], rule: DraftingRule) -> Nodes:
    """Tokens and confidences up to the first EOS, and to the first that is no number."""
    found = Readings.of(np.concatenate([parcel.open() for parcel in sent], axis=1))
    numbers = np.logical_and.accumulate(~np.isnan(found.confidence)).sum()
    tokens, confidences = found.tokens[:numbers].tolist(), found.confidence[:numbers].tolist()
    ends = (index + 1 for index, token in enumerate(tokens) if token in rule.eos)
    count = next(ends, len(tokens))
    return Nodes.chain(tokens[:count], confidences[:count])
