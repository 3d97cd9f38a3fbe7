"""Drafts by the target's own first layers (LayerSkip, section 4.3)."""

from typing import TYPE_CHECKING

from torch import Tensor

from dynexit.decoding.drafters.proposing import propose
from dynexit.decoding.records import Draft, Plan
from dynexit.decoding.requests import Segment, Steps, Unembed
from dynexit.model.interface import Span

if TYPE_CHECKING:
    from dynexit.decoding.sequence import Sequence


class EarlyExitDrafter:
    """Keeps nothing: what drafting computes lies in the target's cache and in the draft."""

    def prefill(self, sequence: "Sequence") -> Steps[None]:
        """The target's reading serves the draft, too."""
        yield from ()

    def draft(self, sequence: "Sequence", plan: Plan) -> Steps[Draft]:
        """Run layers 1..E on the newest token, unembed, choose; again with what was chosen."""
        proposed, newest = Draft(layer=plan.exit_layer), sequence.tokens[-1:]
        best_only = sequence.chooser.best_only
        for index in range(plan.speculation_length):
            states: list[Tensor] | None = [] if sequence.controller.reads_shadow else None
            span = Span(sequence.cache, sequence.cache.length + index, 1)
            hidden = yield Segment(sequence.model.embed(newest), span, 0, plan.exit_layer, states)
            logits = yield Unembed(hidden, best_only, sequence.controller.draft_vocabulary)
            proposed.hidden.append(hidden)
            proposed.states.append(states or [])
            if propose(proposed, logits, sequence, plan):
                break
            newest = proposed.tokens[-1:]
        return proposed


DRAFTERS = {"early-exit": lambda second: EarlyExitDrafter()}
