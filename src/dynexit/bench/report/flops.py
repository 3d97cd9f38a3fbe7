"""Floating-point operations of decoding, counted from the layers and heads that rounds executed.

2 x parameters for every row that passes a layer or the head. Attention's products with the cache
(which grow with the context) and the embedding, a look-up, are not counted; nor is prefill.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from dynexit.bench.report.columns import Rounds
from dynexit.bench.report.generation import Generation
from dynexit.bench.report.naming import reads_shadow

PER_PARAMETER = 2  # a multiplication and an addition


@dataclass(frozen=True)
class Rows:
    """Rows that passed a layer or a head.

    Attributes:
        layers: the target's; a row counts once for every layer that it passes.
        draft_rows: that passed a second model, all of its layers each.
    """

    layers: int
    heads: int
    draft_rows: int = 0
    draft_heads: int = 0


def decoding_flops(generation: Generation) -> int | None:
    """Of all rounds; None where the record does not hold the parts' parameters."""
    rows = count_rows(generation.rounds, reads_shadow(generation.method))
    shape = generation.shape
    parts = {
        "layer_parameters": rows.layers,
        "head_parameters": rows.heads,
        "draft_layer_parameters": rows.draft_rows * shape.get("draft_num_layers", 0),
        "draft_head_parameters": rows.draft_heads,
    }
    needed = {name: count for name, count in parts.items() if count}
    if any(name not in shape for name in needed):
        return None
    return PER_PARAMETER * sum(shape[name] * count for name, count in needed.items())


def count_rows(rounds: Rounds, shadow: bool) -> Rows:
    """Rows of all rounds of one text.

    Args:
        shadow: whether shadow tokens of every layer but the last were unembedded.
    """
    verified = int((rounds.drafted + 1).sum())
    by_second = int(rounds.drafted[rounds.second].sum())
    own_drafts = int(rounds.drafted.sum()) - by_second
    analysed = int((rounds.accepted + 1).sum()) * (rounds.num_layers - 1) if shadow else 0
    return Rows(
        layers=verified * rounds.num_layers,
        heads=verified + own_drafts + analysed,
        draft_rows=_second_model_rows(rounds) if by_second else 0,
        draft_heads=by_second,
    )


def _second_model_rows(rounds: Rounds) -> int:
    """A draft reads all committed tokens that are unread, and each of its own but the last.

    Prefill leaves two unread: the prompt's last token and the first new one.
    """
    passed, unread = 0, 2
    counts: Iterable[tuple[int, int]] = zip(
        rounds.drafted.tolist(), rounds.accepted.tolist(), strict=True
    )
    for drafted, accepted in counts:
        if not drafted:
            unread += 1
            continue
        passed += unread + drafted - 1
        unread = 2 if accepted == drafted else 1
    return passed
