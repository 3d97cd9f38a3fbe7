"""Drafts tokens that are the only ones the text's grammar allows. No layer runs for them.

Controllers do not plan it: such rounds occur with every method that drafts.
"""

from dynexit.decoding.drafters import Drafter, Text
from dynexit.decoding.drafters.sources import certain_logits
from dynexit.decoding.guide import Guide
from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Draft
from dynexit.decoding.requests import Steps

GRAMMAR = "grammar"  # its name in plans


class GrammarDrafter(Drafter):
    """Drafts with one text's guide."""

    def __init__(self, guide: Guide) -> None:
        self._guide = guide
        self._chain: list[int] = []
        self._certain = 0  # of these

    def plan(self, text: Text) -> Plan | None:
        """A plan if the grammar allows only one token; None if there is a choice."""
        self._chain, self._certain = self._guide.foreseen(text.tokens[text.prompt_length :])
        if not self._chain:
            return None
        return Plan(0, len(self._chain), drafter=GRAMMAR, shadow=())

    def draft(self, text: Text, plan: Plan) -> Steps[Draft]:
        """Draft those tokens as a chain."""
        yield from ()
        tokens = self._chain[: plan.speculation_length]
        draft = Draft(tokens, sources=["grammar"] * len(tokens))
        draft.certain = min(self._certain, len(tokens))
        if text.sampler.sampling.speculative:
            draft.logits = certain_logits(tokens, text.model)
        return draft


def within_grammar(draft: Draft, guide: Guide, text: list[int]) -> Draft:
    """Remove tokens that the grammar refuses, and their descendants, from a draft without layers.

    Args:
        text: the text's tokens before the draft, without the prompt.
    """
    kept = {0: 0}
    for row in range(1, len(draft.tokens) + 1):
        path = draft.path_to(row)
        if draft.parent_of(row) in kept and guide.valid(text, path) == len(path):
            kept[row] = len(kept)
    if len(kept) == len(draft.tokens) + 1:
        return draft
    rows = [row - 1 for row in kept if row]
    left = Draft([draft.tokens[row] for row in rows], slot=draft.slot)
    left.logits = [draft.logits[row] for row in rows] if draft.logits else []
    left.sources = None if draft.sources is None else [draft.sources[row] for row in rows]
    parents = [kept[draft.parent_of(row + 1)] for row in rows]
    left.parents = parents if parents != list(range(len(rows))) else None
    return left
