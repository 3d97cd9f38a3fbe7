"""Drafts by the target's own first layers (LayerSkip, section 4.3)."""

from typing import TYPE_CHECKING

from torch import Tensor

from dynexit.decoding.records import Draft, Plan
from dynexit.decoding.requests import Segment, Steps, Unembed
from dynexit.model.rows import Span

if TYPE_CHECKING:
    from dynexit.decoding.sequence import Sequence


def draft(sequence: "Sequence", plan: Plan) -> Steps[Draft]:
    """Run layers 1..E on the newest token, unembed, choose; again with what was chosen.

    Stops after a token below the plan's threshold and after one that ends the text.
    """
    proposed, token = Draft(layer=plan.exit_layer), sequence.tokens[-1]
    confident = plan.threshold is not None
    for index in range(plan.speculation_length):
        states: list[Tensor] | None = [] if sequence.controller.reads_shadow else None
        span = Span(sequence.cache, sequence.cache.length + index, 1)
        embedded = sequence.embed([token])
        hidden = yield Segment(embedded, span, 0, plan.exit_layer, states)
        logits = yield Unembed(hidden)
        choice = sequence.chooser.choose(logits, proposed.tokens, index, confident)
        token = choice.tokens[0]
        proposed.tokens.append(token)
        proposed.confidences += choice.confidences
        proposed.hidden.append(hidden)
        proposed.states.append(states or [])
        proposed.logits.append(choice.logits)
        unsure = plan.threshold is not None and choice.confidences[0] < plan.threshold
        if unsure or token in sequence.limits.eos:
            break
    return proposed
