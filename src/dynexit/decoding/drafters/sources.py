"""Drafts the proposers' tree, which takes no forward pass."""

import torch
from torch import Tensor

from dynexit.decoding.drafters import Drafter, Given, Text
from dynexit.decoding.native_offer import NativePanel
from dynexit.decoding.offer import Panel
from dynexit.decoding.plans import Plan
from dynexit.decoding.proposers import make_proposers
from dynexit.decoding.records import Draft, Offer
from dynexit.decoding.requests import Steps
from dynexit.errors import DynexitError
from dynexit.model.interface import Model


class SourcesDrafter(Drafter):
    """Owns the named proposers of one text. A draft runs no layers."""

    def __init__(self, given: Given) -> None:
        self._proposers = make_proposers(given.proposers, given.facts)
        self._given = given
        self._panel: Panel | NativePanel | None = None

    def prefill(self, text: Text) -> Steps[None]:
        """Give the proposers the prompt."""
        names, facts, ends = self._given.proposers, self._given.facts, text.limits.eos
        if self._proposers:
            self._panel = NativePanel.of(names, facts, ends) or Panel(self._proposers, ends)
            self._panel.begin(text.tokens)
        self._branches = text.model.most_children > 1 and not text.sampler.sampling.speculative
        yield from ()

    def offer(self, text: Text) -> Offer | None:
        """The proposers' offer; None if there are no proposers."""
        if self._panel is None:
            return None
        return self._panel.offer(chain=not (self._branches and text.alone))

    def draft(self, text: Text, plan: Plan) -> Steps[Draft]:
        """Draft the tree, as large as the controller let it grow."""
        yield from ()
        draft = Draft() if self._panel is None else self._panel.draft(plan.speculation_length)
        if (token := max(draft.tokens, default=0)) >= text.model.vocabulary_size:
            raise DynexitError(f"a proposer named token {token}, which is outside the vocabulary.")
        draft.slot = text.cache.length + len(draft.tokens) + 1
        if text.sampler.sampling.speculative:
            draft.logits = certain_logits(draft.tokens, text.model)
        return draft


def certain_logits(tokens: list[int], model: Model) -> list[Tensor]:
    """Logits of tokens drafted with certainty, [1, V] each."""
    certain = torch.full((len(tokens), model.vocabulary_size), -torch.inf)
    certain[range(len(tokens)), tokens] = 0.0
    return list(certain.to(model.device).split(1))


DRAFTERS = {"sources": SourcesDrafter}
