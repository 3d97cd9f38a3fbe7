"""Floating-point operations of decoding, counted from the layers and heads that rounds executed.

2 x parameters for every row that passes a layer or the head. Attention's products with the cache
(which grow with the context) and the embedding, a look-up, are not counted; nor is prefill.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dynexit.bench.records import Record
from dynexit.bench.report.naming import reads_shadow
from dynexit.decoding.records import Round, Statistics

PER_PARAMETER = 2  # a multiplication and an addition
SECOND_MODEL = "second-model"


@dataclass(frozen=True)
class Rows:
    """Rows that passed a layer or a head: of the target, and of a second model that drafts."""

    layers: int = 0
    heads: int = 0
    draft_layers: int = 0
    draft_heads: int = 0

    def __add__(self, other: "Rows") -> "Rows":
        return Rows(
            self.layers + other.layers,
            self.heads + other.heads,
            self.draft_layers + other.draft_layers,
            self.draft_heads + other.draft_heads,
        )


def decoding_flops(record: Record) -> int | None:
    """Of all rounds of a generation; None where the record does not hold the parts' parameters."""
    rows = count_rows(record.statistics, record.shape, reads_shadow(record.method))
    parts = {
        "layer_parameters": rows.layers,
        "head_parameters": rows.heads,
        "draft_layer_parameters": rows.draft_layers,
        "draft_head_parameters": rows.draft_heads,
    }
    needed = {name: count for name, count in parts.items() if count}
    if any(name not in record.shape for name in needed):
        return None
    return PER_PARAMETER * sum(record.shape[name] * count for name, count in needed.items())


def count_rows(statistics: Statistics, shape: Mapping[str, int], shadow: bool) -> Rows:
    """Rows of all rounds.

    Args:
        shape: of a `Record`.
        shadow: whether shadow tokens of every layer but the last were unembedded.
    """
    depth, total = statistics.num_layers, Rows()
    for one, unread in _with_unread(statistics.rounds):
        second = one.plan.drafter == SECOND_MODEL
        total += Rows(
            layers=(one.drafted + 1) * depth,
            heads=one.drafted + 1 + (0 if second else one.drafted),
        )
        if shadow:
            total += Rows(heads=(depth - 1) * (one.accepted + 1))
        if second and one.drafted:
            passed = unread + one.drafted - 1
            total += Rows(0, 0, passed * shape.get("draft_num_layers", 0), one.drafted)
    return total


def _with_unread(rounds: list[Round]) -> Iterator[tuple[Round, int]]:
    """Every round with the committed tokens that a second model has not read when it begins.

    Prefill leaves the prompt's last token and the first new one. A draft reads all that is unread
    and each of its own tokens but the last.
    """
    unread = 2
    for one in rounds:
        yield one, unread
        if one.drafted:
            unread = 2 if one.accepted == one.drafted else 1
        else:
            unread += 1
