"""Whether drafting with an early exit pays: one judgement for the warning at loading, for `info`
and for `auto`.

A round that drafts d tokens with E of L layers, each of which is the last layer's with chance a,
brings

    tokens(d) = 1 + a + a^2 + ... + a^d = (1 - a^(d+1)) / (1 - a)

and takes

    seconds(E, d) = d * draft(E) + end(E) + verify(L - E, d + 1)

where draft(E) is a pass of one token through E layers and the part of the head that drafts read,
end(E) is beginning a draft and the pass of its last token through E layers, and verify(n, r) is r
rows through the last n layers and the whole head, with all that is around passes. Exit E pays if
for some d

    tokens(d) / seconds(E, d) >= MARGIN / verify(L, 1),

MARGIN times the tokens per second of plain steps.

Not responsible for costs (`costs.py`), nor for how often an exit agrees (`agreement.py`, and
`auto`, whose drafts have no fixed length and no fixed chance: it gives its own tokens and seconds).
"""

from collections.abc import Mapping
from itertools import accumulate, repeat
from operator import mul
from typing import NamedTuple

from dynexit.decoding.costs import Costs

MARGIN = 1.05  # what a few observations of chances and seconds cannot tell from plain steps
LONGEST = 18  # tokens of a draft


class DraftPrice(NamedTuple):
    """Seconds of a drafted token, of beginning a draft and ending it; and the layers that
    verification need not run again.
    """

    token: float
    ends: float
    reused: int


def draft_price(costs: Costs, layer: int, vocabulary: int | None) -> DraftPrice:
    """Of drafting with a layer that reads so many tokens of the head; None is all."""
    passing = costs.draft(layer)
    head = costs.unembed(1, vocabulary)
    return DraftPrice(passing + head, costs.draft_start(layer) + passing, layer)


def copy_price(costs: Costs, layer: int) -> DraftPrice:
    """Of drafting with the copy of a layer and its own head."""
    return DraftPrice(costs.copied_layer * layer + costs.copied_head, costs.draft_call, 0)


def pays(tokens: float, seconds: float, plain: float) -> bool:
    """Whether a round that brings and takes so much is worth drafting, where a plain step takes
    `plain` seconds.
    """
    return tokens * plain >= MARGIN * seconds


def round_seconds(
    costs: Costs, layer: int, depth: int, vocabulary: int | None, longest: int
) -> list[float]:
    """Of rounds that draft 0, 1, ... `longest` tokens with a layer; of none, a plain step."""
    token, ends, reused = draft_price(costs, layer, vocabulary)
    verify = costs.verify(depth - reused)
    drafting = [n * token + ends + verify[n + 1] for n in range(1, longest + 1)]
    return [costs.verify(depth)[1], *drafting]


class Promise(NamedTuple):
    """The best exit, a draft's best length with it, and what they promise over plain steps."""

    speedup: float
    exit_layer: int
    length: int

    @property
    def pays(self) -> bool:
        """Whether that is worth drafting."""
        return pays(self.speedup, 1.0, 1.0)


def best_promise(
    costs: Costs, depth: int, agreement: Mapping[int, float], vocabulary: int | None
) -> Promise:
    """Of some exits and all lengths, in a model of so many layers.

    Args:
        agreement: how often each exit is right, reading the first `vocabulary` tokens of the head.
    """
    plain = costs.verify(depth)[1]
    promises = []
    for layer, chance in agreement.items():
        seconds = round_seconds(costs, layer, depth, vocabulary, LONGEST)
        accepted = accumulate(repeat(chance, LONGEST), mul)
        for length, tokens in enumerate(accumulate(accepted, initial=1.0)):
            if length:
                promises.append(Promise(tokens * plain / seconds[length], layer, length))
    return max(promises, default=Promise(1.0, 0, 0))
