"""Drafts with the target itself, without some of its sublayers (Draft & Verify, SWIFT, CLaSp).

Kept sublayers read the target's keys and values and write their own past the committed length.
Verification continues after the whole layers before the first that lacks something.
"""

import torch
from torch import Tensor

from dynexit.decoding.drafters import Drafter, Text, taken_apart
from dynexit.decoding.drafters.beside import beside
from dynexit.decoding.drafters.clasp_search import ClaspSearch
from dynexit.decoding.drafters.proposing import Proposal
from dynexit.decoding.plans import Plan, Skipping
from dynexit.decoding.records import Draft
from dynexit.decoding.requests import Drafting, Segment, Steps, Unembed
from dynexit.errors import DynexitError
from dynexit.model.drafting import Drafted
from dynexit.model.drafting_rule import DraftingRule
from dynexit.model.interface import Model
from dynexit.model.skips import Skips

LEAVES = "leaves out parts of layers"
FEWEST = 8  # tokens of the text that a set is judged by, at least


class SkippingDrafter(Drafter):
    """Needs nothing but the target."""

    passes = True

    def __init__(self) -> None:
        self._search = ClaspSearch()

    def prefill(self, text: Text) -> Steps[None]:
        """Refuse a model whose sublayers cannot be left out."""
        yield from ()
        taken_apart(text.model, LEAVES)

    def draft(self, text: Text, plan: Plan) -> Steps[Draft]:
        """Find out what the plan asks for, then draft a chain."""
        model, skipping = taken_apart(text.model, LEAVES), _checked(plan, text.model)
        agreement = found = None
        if skipping.trial is not None:
            agreement = yield from agreement_of(text, model, skipping.trial, skipping.window)
        if skipping.budget is not None:
            found = yield from self._search.run(text, model, skipping.budget)
        skips = skipping.skips if found is None else found
        if text.sampler.best_only and text.alone:
            draft = yield from _draft_at_once(text, plan, model, skips)
        else:
            draft = yield from _draft_by_level(text, plan, model, skips)
        if text.shadowed or not skips.whole:  # shadow tokens need the states of every layer
            draft.layer, draft.hidden = 0, None
        draft.agreement, draft.found = agreement, found
        return draft


def _draft_at_once(text: Text, plan: Plan, model: Model, skips: Skips) -> Steps[Draft]:
    start, newest = text.cache.length, text.tokens[-1]
    rule = _rule_of(text, plan, skips)
    drafted: Drafted = yield Drafting(text.cache, start, newest, rule, model=model)
    draft = Draft(layer=skips.whole, hidden=drafted.hidden)
    draft.take(drafted.nodes)
    return draft


def _rule_of(text: Text, plan: Plan, skips: Skips) -> DraftingRule:
    return DraftingRule(
        len(skips),
        plan.speculation_length,
        plan.threshold or 0.0,
        eos=text.limits.eos,
        limit=text.draft_vocabulary,
        finish=skips.whole > 0,
        skips=skips,
        text_tokens=text.text_tokens,
    )


def _draft_by_level(text: Text, plan: Plan, model: Model, skips: Skips) -> Steps[Draft]:
    """Run the kept sublayers on the newest token, unembed, choose; repeat with the chosen token."""
    proposal = Proposal(text, plan, finish=skips.whole > 0)
    rows: list[Tensor] = []
    for last in proposal.levels():
        hidden = model.embed(proposal.tokens(text.tokens[-1]))
        span = proposal.span(text)
        hidden = yield Segment(hidden, span, 0, skips.whole, model=model)
        rows.append(hidden)
        if not last:
            hidden = yield Segment(hidden, span, skips.whole, len(skips), model=model, skips=skips)
            limit, own = text.draft_vocabulary, text.text_tokens
            proposal.add((yield Unembed(hidden, proposal.best_only, limit, model, own)))
    draft = proposal.draft
    draft.layer, draft.hidden = skips.whole, torch.cat(rows)
    return draft


def agreement_of(text: Text, model: Model, skips: Skips, window: int) -> Steps[float | None]:
    """The share of the text's last `window` tokens that one pass without these sublayers
    reproduces; None while the text is too short to tell.

    The pass reads the committed keys and values before these tokens, and leaves all of them as they
    are: see `beside`.
    """
    stop = text.cache.length
    first = max(text.prompt_length - 1, stop - window, 1)
    count = stop - first
    if count < min(FEWEST, window):
        return None
    hidden = model.embed(text.tokens[first:stop])
    span = beside(text.cache, first, [0, *range(2, count + 1)])
    hidden = yield Segment(hidden, span, 0, len(skips), model=model, skips=skips)
    limit, own = text.draft_vocabulary, text.text_tokens
    read = yield Unembed(hidden, text.sampler.best_only, limit, model, own)
    chosen = text.sampler.shadow(read, 1, (), -count)[0][0].tolist()
    pairs = zip(chosen, text.tokens[first + 1 :], strict=True)
    return sum(mine == theirs for mine, theirs in pairs) / count


def _checked(plan: Plan, model: Model) -> Skipping:
    """What a plan leaves out, of a method that may be a user's."""
    skipping, layers = plan.own(Skipping), model.config.num_layers
    if any(len(one) != layers for one in (skipping.skips, skipping.trial or skipping.skips)):
        raise DynexitError(
            f"the method planned to leave out parts of another model: this one has {layers} layers."
        )
    return skipping


DRAFTERS = {"skipping": lambda given: SkippingDrafter()}
