"""Drafts from the text itself: what followed the longest match of its last tokens."""

import torch

from dynexit.decoding.drafters import Drafter, Text
from dynexit.decoding.lookup import Suffixes
from dynexit.decoding.records import Draft, Offer, Plan
from dynexit.decoding.requests import Steps

MOST = 24  # tokens of an offer


class LookupDrafter(Drafter):
    """Owns the index of one sequence's tokens. A draft runs no layers."""

    source = "lookup"

    def __init__(self) -> None:
        self._suffixes: Suffixes | None = None
        self._offered: Offer | None = None

    def prefill(self, text: Text) -> Steps[None]:
        """Index the prompt."""
        self._suffixes = Suffixes(text.tokens)
        yield from ()

    def offer(self, text: Text) -> Offer | None:
        """What followed the longest match; None where the last token is new."""
        self._offered = None
        if self._suffixes is not None:
            place, match = self._suffixes.find()
            if match:
                self._offered = Offer(self._suffixes.after(place, MOST), match)
        return self._offered

    def draft(self, text: Text, plan: Plan) -> Steps[Draft]:
        """The offer's first tokens, and nothing where there is none."""
        yield from ()
        tokens = list(self._offered.tokens[: plan.speculation_length]) if self._offered else []
        if not text.sampler.sampling.speculative:
            return Draft(tokens)
        certain = torch.full((len(tokens), text.model.vocabulary_size), -torch.inf)
        certain[range(len(tokens)), tokens] = 0.0
        return Draft(tokens, logits=list(certain.to(text.model.device).split(1)))


DRAFTERS = {"lookup": lambda second: LookupDrafter()}
