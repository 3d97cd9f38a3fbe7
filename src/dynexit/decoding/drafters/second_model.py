"""Drafts with a second, smaller model of the same vocabulary (Leviathan et al. 2023)."""

from torch import Tensor

from dynexit.decoding.drafters import Drafter, Text
from dynexit.decoding.drafters.proposing import Proposal
from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Draft
from dynexit.decoding.requests import Segment, Steps, Unembed
from dynexit.errors import DynexitError
from dynexit.model.interface import Described, Span


class SecondModelDrafter(Drafter):
    """Owns the second model's KV cache and tracks which tokens it holds."""

    passes = True

    def __init__(self, model: Described | None) -> None:
        if model is None:
            raise DynexitError("this method drafts with a second model: give draft_model.")
        if model.config.mask_token is not None:
            raise DynexitError(
                "the draft model is a masked-diffusion model, which does not draft token by token: "
                "use method diffuspec."
            )
        self._model, self._cache = model, model.new_cache()
        self._read: list[int] = []

    def prefill(self, text: Text) -> Steps[None]:
        """Read the prompt except its last token, from which the first draft starts."""
        if 1 < text.prompt_length <= self._model.config.max_positions:
            yield from self._run(text.tokens[: text.prompt_length - 1])

    def draft(self, text: Text, plan: Plan) -> Steps[Draft]:
        """Read the text's new tokens, then draft one token per pass."""
        self._forget_rejected(text.tokens)
        proposal, pending = Proposal(text, plan, finish=False), text.tokens[len(self._read) :]
        room = self._model.config.max_positions - len(text.tokens)
        for _ in proposal.levels():
            if len(proposal.draft.tokens) > room:
                break
            hidden = yield from self._run(pending)
            logits = yield Unembed(hidden[-1:], text.sampler.best_only, model=self._model)
            proposal.add(logits)
            pending = proposal.draft.tokens[-1:]
        proposal.draft.layer = 0
        return proposal.draft

    def _run(self, tokens: list[int]) -> Steps[Tensor]:
        """Read `tokens`; returns hidden states [n, D] after the second model's last layer."""
        span = Span(self._cache, len(self._read), len(tokens))
        hidden = self._model.embed(tokens)
        self._read += tokens
        depth = self._model.config.num_layers
        return (yield Segment(hidden, span, 0, depth, model=self._model))

    def _forget_rejected(self, tokens: list[int]) -> None:
        """Roll back to the tokens that the text still has; its last token is left to read."""
        while len(self._read) >= len(tokens) or self._read != tokens[: len(self._read)]:
            self._read.pop()


DRAFTERS = {"second-model": lambda given: SecondModelDrafter(given.second)}
