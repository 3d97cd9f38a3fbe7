"""Drafts with the target itself, or its first layers, which see a window of the cache alone
(MagicDec, arXiv 2408.11049; StreamingLLM's windows, arXiv 2309.17453).

Nothing that a draft computes is the target's: verification runs all layers again, and overwrites
the draft's keys and values, which lie past the committed ones.
"""

from dynexit.decoding.drafters import Drafter, Text, taken_apart
from dynexit.decoding.drafters.proposing import Proposal
from dynexit.decoding.plans import Plan, Windowed
from dynexit.decoding.records import Draft
from dynexit.decoding.requests import Drafting, Segment, Steps, Unembed
from dynexit.errors import DynexitError
from dynexit.model.drafting import Drafted
from dynexit.model.drafting_rule import DraftingRule
from dynexit.model.interface import Model

SEES = "drafts by a window of the cache"


class WindowedDrafter(Drafter):
    """Has no state of its own."""

    passes = True

    def prefill(self, text: Text) -> Steps[None]:
        """Refuse a model whose layers see all or nothing."""
        yield from ()
        taken_apart(text.model, SEES)

    def draft(self, text: Text, plan: Plan) -> Steps[Draft]:
        """Draft a chain: in one call if decoding is greedy and no other text shares the passes."""
        model, rule = taken_apart(text.model, SEES), _rule_of(text, plan)
        if not (text.sampler.best_only and text.alone):
            return (yield from _draft_by_level(text, plan, model, rule))
        start, newest = text.cache.length, text.tokens[-1]
        drafted: Drafted = yield Drafting(text.cache, start, newest, rule, model=model)
        draft = Draft()
        draft.take(drafted.nodes)
        return draft


def _rule_of(text: Text, plan: Plan) -> DraftingRule:
    layers = text.model.config.num_layers
    if not 1 <= plan.exit_layer <= layers:
        raise DynexitError(
            f"the method planned to draft by {plan.exit_layer} layers, but this model has {layers}."
        )
    limits = {"eos": text.limits.eos, "limit": text.draft_vocabulary}
    return plan.with_children(1).rule(
        **limits, text_tokens=text.text_tokens, finish=False, window=plan.own(Windowed).window
    )


def _draft_by_level(text: Text, plan: Plan, model: Model, rule: DraftingRule) -> Steps[Draft]:
    """Run the layers on the newest token, unembed, choose; repeat with the chosen token."""
    proposal = Proposal(text, plan.with_children(1), finish=False)
    for _ in proposal.levels():
        hidden = model.embed(proposal.tokens(text.tokens[-1]))
        span = proposal.span(text)._replace(window=rule.window)
        hidden = yield Segment(hidden, span, 0, plan.exit_layer, model=model)
        given = hidden, proposal.best_only, rule.limit, model, rule.text_tokens
        proposal.add((yield Unembed(*given)))
    proposal.draft.layer = 0
    return proposal.draft


DRAFTERS = {"windowed": lambda given: WindowedDrafter()}
