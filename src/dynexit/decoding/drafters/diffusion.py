"""DiffuSpec's drafts (Li et al. 2025, arXiv 2510.02358): a masked-diffusion model of the same
vocabulary sees the text and a block of masks, and guesses all of the block in one pass.

What it finds likely at each position is a lattice. The path through it that a 3-gram model also
finds likely is the draft (`lattice.py`). As published, each pass reads the whole text again: every
position sees every other, so no keys and values stay right. With `recent`, only that many of the
text's last tokens are read again, and those that are new. The keys and values of the tokens before
them are those of an earlier pass, which saw other masks after them: drafts differ, and the text
does not.
"""

import torch
from torch import Tensor

from dynexit.decoding.drafters import Drafter, Given, Text
from dynexit.decoding.drafters.lookahead import Tree
from dynexit.decoding.drafters.proposing import Proposal
from dynexit.decoding.lattice import best_paths, lattice_of, without_token
from dynexit.decoding.ngrams import Trigrams
from dynexit.decoding.plans import Lattice, Plan
from dynexit.decoding.records import Draft
from dynexit.decoding.requests import Segment, Steps, Unembed
from dynexit.errors import DynexitError
from dynexit.model.interface import Described, Span


class DiffusionDrafter(Drafter):
    """Owns a cache of the diffusion model, and the 3-gram model of one text.

    With noise in the logits (shared-noise sampling) the noise counts in the search, too. Under a
    grammar, and with speculative acceptance, which needs the distribution of every token, tokens
    are chosen position by position instead.
    """

    def __init__(self, given: Given) -> None:
        model = given.second
        if model is None:
            raise DynexitError(
                "this method drafts with a masked-diffusion model: give draft_model."
            )
        if model.config.mask_token is None:
            raise DynexitError(
                "the draft model is not a masked-diffusion model, which this method drafts with: "
                "give one that is, or use method two-model."
            )
        self._model: Described = model
        self._mask, self._shifted = model.config.mask_token, model.config.shifted
        self._cache, self._read = model.new_cache(), 0
        self._trigrams = Trigrams(given.facts.table, model.vocabulary_size)

    def draft(self, text: Text, plan: Plan) -> Steps[Draft]:
        """Draft one path, or several as a tree, of at most as many levels as are planned."""
        room = self._model.config.max_positions - len(text.tokens)
        length, settings = min(plan.speculation_length, room), plan.own(Lattice)
        if length < 1:
            return Draft()
        states = yield from self._run(text.tokens, length, settings.recent)
        read = yield Unembed(states, model=self._model)
        exact = torch.promote_types(text.model.dtype, torch.float32)
        logits = without_token(read.to(text.model.device, exact), self._mask)
        if text.sampler.sampling.speculative or text.sampler.by_path:
            return _by_position(text, plan, logits)
        return self._searched(text, logits, settings)

    def _run(self, tokens: list[int], length: int, recent: int | None) -> Steps[Tensor]:
        """Read the text and a block of masks. Returns the states [length, D] that predict it."""
        start = 0 if recent is None else min(self._read, max(len(tokens) - recent, 0))
        start = min(start, len(tokens) - 1)  # whose row predicts the first mask, if shifted
        given = [*tokens[start:], *[self._mask] * length]
        span, depth = Span(self._cache, start, len(given)), self._model.config.num_layers
        hidden = yield Segment(self._model.embed(given), span, 0, depth, model=self._model)
        self._read = len(tokens)
        stop = len(given) - self._shifted
        states: Tensor = hidden[stop - length : stop]
        return states

    def _searched(self, text: Text, logits: Tensor, settings: Lattice) -> Draft:
        """The best paths through the lattice of logits [length, V]."""
        sampler, noise = text.sampler, None
        if not sampler.best_only:
            logits = sampler.process(logits, logits.argmax(-1).tolist())
            noise = None if sampler.sampling.greedy else sampler.noise(logits, 0)
        weight = 1 - settings.trigrams
        lattice = lattice_of(logits, noise, settings.mass, settings.candidates, weight)
        if settings.trigrams:
            self._trigrams.learn(text.tokens)
        given = text.tokens[-2:], self._trigrams.log_chances, settings.trigrams, settings.beam
        paths = best_paths(lattice, *given, text.limits.eos)
        tree = Tree()
        branches = text.alone and text.model.runs_trees
        for path in paths[: settings.paths if branches else 1]:
            tree.add(path)
        return tree.draft(text.cache.length)


def _by_position(text: Text, plan: Plan, logits: Tensor) -> Draft:
    """A chain of each position's own choice, from logits [length, V]."""
    proposal, rows = Proposal(text, plan, finish=False), iter(logits.split(1))
    for _ in proposal.levels():
        if (row := next(rows, None)) is None:
            break
        proposal.add(row)
    proposal.draft.layer = 0
    return proposal.draft


DRAFTERS = {"diffusion": DiffusionDrafter}
