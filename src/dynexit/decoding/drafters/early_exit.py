"""Drafts by the target's own first layers (LayerSkip, section 4.3)."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dynexit.decoding.drafters.proposing import propose
from dynexit.decoding.records import Draft, Plan
from dynexit.decoding.requests import Drafting, Segment, Steps, Unembed
from dynexit.decoding.sampling import NOT_NUMBERS
from dynexit.errors import DynexitError
from dynexit.model.drafting import Drafted, drafts_alone
from dynexit.model.drafting_rule import DraftingRule
from dynexit.model.interface import Model, Span

if TYPE_CHECKING:
    from dynexit.decoding.sequence import Sequence


class EarlyExitDrafter:
    """Keeps nothing: what drafting computes lies in the target's cache and in the draft.

    Args:
        quantised: drafts with the model's own copy of its first layers in int8, where that goes as
            deep. Their keys and values are good enough to draft with; verification computes these
            layers anew.
    """

    def __init__(self, quantised: bool = False) -> None:
        self._quantised = quantised
        self._rule: tuple[Plan, bool, bool, DraftingRule] | None = None  # plan, leaves, reused

    def offer(self, sequence: "Sequence") -> None:
        """Nothing: a draft costs passes."""

    def prefill(self, sequence: "Sequence") -> Steps[None]:
        """The target's reading serves the draft, too."""
        yield from ()

    def draft(self, sequence: "Sequence", plan: Plan) -> Steps[Draft]:
        """In one call where tokens are the likeliest and the model can, else token by token: other
        sequences may join in the passes.
        """
        model = self._copy(sequence.model, plan) if self._quantised else sequence.model
        greedy = sequence.chooser.best_only and sequence.alone
        if greedy and drafts_alone(model):
            draft = yield from self._draft_at_once(sequence, plan, model)
        else:
            draft = yield from _draft_by_token(sequence, plan, model)
        if model is not sequence.model:
            draft.arrive()  # its states are not verification's
            draft.layer, draft.hidden, draft.states = 0, None, None
        return draft

    @staticmethod
    def _copy(model: Model, plan: Plan) -> Model:
        """The copy, or the model itself where the plan exits below the copy's last layer."""
        copy: Any = getattr(model, "draft_copy", None)
        if copy is None:
            raise DynexitError("this model has no copy in int8 to draft with.")
        return copy if plan.exit_layer <= copy.kept_layers else model

    def _draft_at_once(self, sequence: "Sequence", plan: Plan, model: Model) -> Steps[Draft]:
        reused = model is sequence.model
        start, newest = sequence.cache.length, sequence.tokens[-1]
        rule = self._rule_of(sequence, plan, reused)
        watched = reused and bool(sequence.shadowed)
        drafted: Drafted = yield Drafting(sequence.cache, start, newest, rule, watched, model)

        def tell() -> tuple[list[int], list[float]]:
            if any(map(math.isnan, drafted.confidences)):
                raise DynexitError(NOT_NUMBERS)
            return drafted.tokens, drafted.confidences

        return Draft(
            layer=plan.exit_layer,
            hidden=drafted.hidden,
            states=drafted.states,
            tell=tell,
            leaves=drafted.leaves,
            slot=start + rule.length + 1,
        )

    def _rule_of(self, sequence: "Sequence", plan: Plan, reused: bool) -> DraftingRule:
        """A plan as the model knows it; plans come again."""
        branching = sequence.model.branching and not sequence.shadowed
        key = plan, branching, reused
        if self._rule is None or self._rule[0] is not plan or self._rule[1:3] != key[1:]:
            if plan.leaf_odds and len(plan.leaf_odds) != len(plan.odds):
                raise DynexitError(
                    f"the method planned {len(plan.leaf_odds)} leaf odds and {len(plan.odds)} "
                    "odds: give as many of both."
                )
            rule = DraftingRule(
                exit_layer=plan.exit_layer,
                length=plan.speculation_length,
                threshold=plan.threshold or 0.0,
                floors=plan.floors,
                odds=plan.odds,
                eos=sequence.limits.eos,
                limit=sequence.controller.draft_vocabulary,
                finish=reused,
                leaf_odds=plan.leaf_odds if branching else (),
                leaf_floor=plan.leaf_floor,
            )
            self._rule = *key, rule
        return self._rule[3]


def _draft_by_token(sequence: "Sequence", plan: Plan, model: Model) -> Steps[Draft]:
    """Run layers 1..E on the newest token, unembed, choose; again with what was chosen."""
    controller, best_only = sequence.controller, sequence.chooser.best_only
    proposed, token, ended = Draft(layer=plan.exit_layer), sequence.tokens[-1], False
    rows: list[Tensor] = []
    left: list[Tensor] = []
    while True:
        states: list[Tensor] | None = [] if sequence.shadowed else None
        span = Span(sequence.cache, sequence.cache.length + len(rows), 1)
        hidden = model.embed([token])
        hidden = yield Segment(hidden, span, 0, plan.exit_layer, states, model=model)
        rows.append(hidden)
        left += [torch.stack(states, 1)] if states else []
        if ended or len(proposed.tokens) == plan.speculation_length:
            break
        logits = yield Unembed(hidden, best_only, controller.draft_vocabulary, model)
        ended = propose(proposed, logits, sequence, plan)
        token = proposed.tokens[-1]
    proposed.hidden, proposed.states = torch.cat(rows), torch.cat(left) if left else None
    return proposed


DRAFTERS = {
    "early-exit": lambda second: EarlyExitDrafter(),
    "early-exit-int8": lambda second: EarlyExitDrafter(quantised=True),
}
