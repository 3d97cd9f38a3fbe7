"""Processes logits before a token is chosen from them, in transformers' order.

Not responsible for choosing (`sampling.py`).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dynexit.decoding.guide import Guide
from dynexit.decoding.sampling_parameters import Sampling


class Ends(NamedTuple):
    """Tokens that cannot be chosen before the text has `min_new_tokens`."""

    tokens: frozenset[int]
    min_new_tokens: int


class Processors:
    """Those of one text. Rows, drafts and `first` are as in `sampling.Sampler`.

    Args:
        tokens: the prompt's; the list grows with the text.
        guide: leads the text along a grammar.
    """

    def __init__(
        self, sampling: Sampling, tokens: Sequence[int], ends: Ends, guide: Guide | None
    ) -> None:
        self._sampling, self._tokens, self._guide = sampling, tokens, guide
        self._prompt_length = len(tokens)
        self._ends = sorted(ends.tokens)
        self._may_end = len(tokens) + ends.min_new_tokens  # the first position where one may stand

    @property
    def idle(self) -> bool:
        """Whether the best token is that of the logits as they are."""
        return self._guide is None and self.only_guided

    @property
    def only_guided(self) -> bool:
        """Whether it is, of tokens that the grammar allows."""
        rule = self._sampling
        as_it_is = rule.greedy and rule.repetition_penalty == 1.0 and not rule.counting
        return as_it_is and not (rule.logit_bias or rule.banned or self._too_early)

    @property
    def _too_early(self) -> bool:
        """Whether the next token cannot be every token."""
        return bool(self._ends) and len(self._tokens) < self._may_end

    def process(self, logits: Tensor, drafts: Sequence[int] = (), first: int = 0) -> Tensor:
        """Bias, penalties, ends, bans, grammar, temperature, top-k, top-p, min-p: [..., n, V]."""
        rule = self._sampling
        if rule.logit_bias:
            logits = self._biased(exact_logits(logits))
        if rule.repetition_penalty != 1.0:
            logits = self._penalise(exact_logits(logits), drafts, first)
        if rule.counting:
            logits = self._lower_repeated(exact_logits(logits), drafts, first)
        if self._too_early:
            logits = self._without_ends(logits, first)
        if rule.banned:
            logits = self._without_banned(logits, drafts, first)
        if self._guide is not None:
            logits = self._guided(logits, drafts, first)
        if rule.greedy:
            return logits
        exact = exact_logits(logits)
        exact = exact - exact.amax(-1, keepdim=True)  # so that no temperature overflows the best
        return _filter(exact / rule.temperature, rule)

    def _biased(self, logits: Tensor) -> Tensor:
        bias = self._sampling.logit_bias or {}
        tokens = torch.tensor([*bias], dtype=torch.long, device=logits.device)
        return logits.index_add(
            -1, tokens, logits.new_tensor([*bias.values()]).expand(*logits.shape[:-1], -1)
        )

    def _context(self, drafts: Sequence[int], row: int) -> list[int]:
        """The text's tokens, without the prompt's, and the first `row` drafts."""
        return [*self._tokens[self._prompt_length :], *drafts[:row]]

    def _without_banned(self, logits: Tensor, drafts: Sequence[int], first: int) -> Tensor:
        """Nothing that would complete one of the sequences that must not stand in the text."""
        left = logits.clone()
        for index in range(max(-first, 0), logits.shape[-2]):
            text = self._context(drafts, first + index)
            for *begins, last in self._sampling.banned:
                if last < logits.shape[-1] and text[len(text) - len(begins) :] == begins:
                    left[..., index, last] = -math.inf
        return left

    def _guided(self, logits: Tensor, drafts: Sequence[int], first: int) -> Tensor:
        """Nothing that the grammar refuses; a prompt's rows are as they were."""
        assert self._guide is not None
        text, left = self._tokens[self._prompt_length :], logits.clone()
        for index in range(max(-first, 0), logits.shape[-2]):
            refused = self._guide.refused(text, drafts[: first + index])
            left[..., index, :].masked_fill_(refused.to(logits.device), -math.inf)
        return left

    def _penalise(self, logits: Tensor, drafts: Sequence[int], first: int) -> Tensor:
        rows, vocabulary = logits.shape[-2:]
        seen = torch.zeros(rows, vocabulary, dtype=torch.bool, device=logits.device)
        seen[:, [token for token in set(self._tokens) if token < vocabulary]] = True
        for index, token in enumerate(drafts):  # a draft is seen by the rows after it
            seen[max(index + 1 - first, 0) :, token] = True
        penalty = self._sampling.repetition_penalty
        penalised = torch.where(logits < 0, logits * penalty, logits / penalty)
        return torch.where(seen, penalised, logits)

    def _lower_repeated(self, logits: Tensor, drafts: Sequence[int], first: int) -> Tensor:
        """Presence and frequency penalty: by how often each row's text holds a token."""
        rows, vocabulary = logits.shape[-2:]
        text = torch.tensor(self._tokens[self._prompt_length :], dtype=torch.long)
        counts = text.bincount(minlength=vocabulary)[:vocabulary].repeat(rows, 1)
        for index, token in enumerate(drafts):  # a draft is counted by the rows after it
            counts[max(index + 1 - first, 0) :, token] += 1
        counts = counts.to(logits)
        rule = self._sampling
        return logits - rule.frequency_penalty * counts - rule.presence_penalty * (counts > 0)

    def _without_ends(self, logits: Tensor, first: int) -> Tensor:
        """Nothing that ends the text, in the rows of positions where it cannot end yet."""
        rows, vocabulary = logits.shape[-2:]
        start = len(self._tokens) + first
        early = slice(max(self._prompt_length - start, 0), min(max(self._may_end - start, 0), rows))
        left = logits.clone()
        left[..., early, [token for token in self._ends if token < vocabulary]] = -math.inf
        return left


def exact_logits(logits: Tensor) -> Tensor:
    """At least fp32: probabilities are never computed in 16 bits."""
    return logits.float() if logits.dtype.itemsize < 4 else logits


def _filter(logits: Tensor, sampling: Sampling) -> Tensor:
    """Remove (set to -inf) what top-k, then top-p, then min-p leave out; always keep one token."""
    if 0 < sampling.top_k < logits.shape[-1]:
        lowest = logits.topk(sampling.top_k).values[..., -1:]
        logits = logits.masked_fill(logits < lowest, -math.inf)
    if sampling.top_p < 1.0:
        ordered, order = logits.sort(descending=False, stable=True)
        unlikely = ordered.softmax(-1).cumsum(-1) <= 1 - sampling.top_p
        unlikely[..., -1] = False
        logits = logits.masked_fill(unlikely.scatter(-1, order, unlikely), -math.inf)
    if sampling.min_p > 0.0:
        probabilities = logits.softmax(-1)
        floor = sampling.min_p * probabilities.amax(-1, keepdim=True)
        logits = logits.masked_fill(probabilities < floor, -math.inf)
    return logits
