"""Drafts what proposers have at hand: a tree that took no pass."""

import torch

from dynexit.decoding.drafters import Drafter, Text
from dynexit.decoding.offer import Panel, Tree
from dynexit.decoding.proposers import Proposer, make_proposers
from dynexit.decoding.records import Draft, Plan
from dynexit.decoding.requests import Steps


class SourcesDrafter(Drafter):
    """Owns the proposers of one text. A draft runs no layers."""

    def __init__(self, proposers: list[Proposer]) -> None:
        self._panel = Panel(proposers) if proposers else None
        self._offer: Tree | None = None

    def prefill(self, text: Text) -> Steps[None]:
        """Tell them of the prompt."""
        for one in self._panel.proposers if self._panel else ():
            one.begin(text.tokens)
        yield from ()

    def offer(self, text: Text) -> Tree | None:
        """What they have at hand; None where there are none."""
        self._offer = None
        if self._panel is not None:
            whole = text.model.branching and text.alone and not text.sampler.sampling.speculative
            self._offer = Tree(self._panel, text.tokens, text.limits.eos, chain=not whole)
        return self._offer

    def draft(self, text: Text, plan: Plan) -> Steps[Draft]:
        """The tree as the controller has let it grow."""
        yield from ()
        draft = Draft() if self._offer is None else self._offer.draft(plan.speculation_length)
        draft.slot = text.cache.length + len(draft.tokens) + 1
        if text.sampler.sampling.speculative:
            certain = torch.full((len(draft.tokens), text.model.vocabulary_size), -torch.inf)
            certain[range(len(draft.tokens)), draft.tokens] = 0.0
            draft.logits = list(certain.to(text.model.device).split(1))
        return draft


DRAFTERS = {"sources": lambda given: SourcesDrafter(make_proposers(given.proposers, given.facts))}
