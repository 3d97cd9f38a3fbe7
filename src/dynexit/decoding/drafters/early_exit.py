"""Drafts with the target's own first layers (LayerSkip, section 4.3)."""

import torch
from torch import Tensor

from dynexit.decoding.drafters import Drafter, Text
from dynexit.decoding.drafters.proposing import Proposal
from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Draft
from dynexit.decoding.requests import Drafting, Segment, Steps, Unembed
from dynexit.errors import DynexitError
from dynexit.model.drafting import Drafted
from dynexit.model.drafting_rule import DraftingRule
from dynexit.model.interface import Model


class EarlyExitDrafter(Drafter):
    """Has no state of its own: drafting writes to the target's cache and to the draft.

    Args:
        quantised: draft with the model's int8 copy of its first layers, where that is deep enough.
            Its keys and values are good enough to draft with; verification runs these layers again.
    """

    early = passes = True

    def __init__(self, quantised: bool = False) -> None:
        self._quantised = quantised
        self._rule: tuple[Plan, int, bool, DraftingRule] | None = None  # plan, children, reused

    def draft(self, text: Text, plan: Plan) -> Steps[Draft]:
        """Draft in one call if decoding is greedy and no other sequence shares the passes; else
        level by level.
        """
        model = self._copy(text.model, plan) if self._quantised else text.model
        if text.sampler.best_only and text.alone:
            draft = yield from self._draft_at_once(text, plan, model)
        else:
            draft = yield from _draft_by_level(text, plan, model)
        if model is not text.model:
            draft.arrive()  # its states are not verification's
            draft.layer, draft.hidden, draft.states = 0, None, None
        return draft

    @staticmethod
    def _copy(model: Model, plan: Plan) -> Model:
        """The int8 copy, or the model itself where the plan's exit is deeper than the copy."""
        if (copy := model.draft_copy) is None:
            raise DynexitError("this model has no int8 copy to draft with.")
        return copy if plan.exit_layer <= copy.kept_layers else model

    def _draft_at_once(self, text: Text, plan: Plan, model: Model) -> Steps[Draft]:
        start, newest = text.cache.length, text.tokens[-1]
        rule = self._rule_of(text, plan, model is text.model)
        watched = rule.finish and bool(text.shadowed)
        drafted: Drafted = yield Drafting(text.cache, start, newest, rule, watched, model)
        draft = Draft(layer=plan.exit_layer, hidden=drafted.hidden, states=drafted.states)
        draft.slot, draft.tell = rule.slot(start), lambda: drafted.nodes
        if rule.ranks > 1:  # its shape must be known before verification is asked for
            draft.arrive()
        return draft

    def _rule_of(self, text: Text, plan: Plan, reused: bool) -> DraftingRule:
        """The model's drafting rule for a plan. Plans recur, so rules are cached."""
        children = 1 if text.shadowed else text.model.most_children
        key, own = (plan, children, reused), text.text_tokens
        if self._rule is None or self._rule[0] is not plan or self._rule[1:3] != key[1:]:
            limits = {"eos": text.limits.eos, "limit": text.draft_vocabulary, "text_tokens": own}
            rule = plan.with_children(children).rule(**limits, finish=reused)
            self._rule = *key, rule
        return self._rule[3]


def _draft_by_level(text: Text, plan: Plan, model: Model) -> Steps[Draft]:
    """Run layers 1..E on the newest token, unembed, choose; repeat with the chosen tokens."""
    speculative = text.sampler.sampling.speculative
    children = 1 if text.shadowed or speculative else model.most_children
    proposal = Proposal(text, plan.with_children(children))
    limit, own = text.draft_vocabulary, text.text_tokens
    rows: list[Tensor] = []
    left: list[Tensor] = []
    for last in proposal.levels():
        states: list[Tensor] | None = [] if text.shadowed else None
        hidden = model.embed(proposal.tokens(text.tokens[-1]))
        span = proposal.span(text)
        hidden = yield Segment(hidden, span, 0, plan.exit_layer, states, model=model)
        rows.append(hidden)
        left += [torch.stack(states, 1)] if states else []
        if not last:
            given = proposal.open(hidden), proposal.best_only, limit, model, own
            proposal.add((yield Unembed(*given)))
    draft = proposal.draft
    draft.hidden, draft.states = torch.cat(rows), torch.cat(left) if left else None
    return draft


DRAFTERS = {
    "early-exit": lambda given: EarlyExitDrafter(),
    "early-exit-int8": lambda given: EarlyExitDrafter(quantised=True),
}
