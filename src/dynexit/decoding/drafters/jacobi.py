"""Jacobi decoding's drafts (Santilli et al. 2023, arXiv 2305.10427): guesses that every pass of the
target replaces by what it says itself.
"""

from dynexit.decoding.drafters import Drafter, Text
from dynexit.decoding.drafters.sources import certain_logits
from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Draft
from dynexit.decoding.requests import Steps
from dynexit.decoding.sampling import NO_TOKEN


class JacobiDrafter(Drafter):
    """Keeps what the last pass chose after each guess: the next guess for the position after it. At
    the end, and in the first round, the last token is repeated.
    """

    reads = True

    def __init__(self) -> None:
        self._best: list[int] = []
        self._length = 0  # tokens that the text had in that pass

    def draft(self, text: Text, plan: Plan) -> Steps[Draft]:
        """Draft the guesses for the positions after the newest token as a chain."""
        yield from ()
        known = self._best[len(text.tokens) - self._length :][: plan.speculation_length]
        tokens = known[: known.index(NO_TOKEN)] if NO_TOKEN in known else known
        last = [*text.tokens[-1:], *tokens][-1]
        tokens += [last] * (plan.speculation_length - len(tokens))
        draft = Draft(tokens)
        if text.sampler.sampling.speculative:
            draft.logits = certain_logits(tokens, text.model)
        return draft

    def read(self, text: Text, draft: Draft, best: list[int]) -> None:
        """Keep them."""
        self._best, self._length = best, len(text.tokens)


DRAFTERS = {"jacobi": lambda given: JacobiDrafter()}
