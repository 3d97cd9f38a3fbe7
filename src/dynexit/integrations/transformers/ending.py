"""Ends texts by transformers' stopping criteria and passes tokens to its streamers."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.generation.stopping_criteria import MaxLengthCriteria


class Ending:
    """A `TextSink` that asks a `StoppingCriteriaList` after every token, the last included.

    Args:
        ids: what stands before the text, padding included: criteria see it.
        criteria: asked one sequence at a time, without scores.
        streamer: hears of every token that stays.
    """

    def __init__(
        self, ids: Sequence[int], criteria: Sequence[Any], streamer: Any, device: torch.device
    ) -> None:
        self.stopped = False
        self._ids, self._streamer, self._device = list(ids), streamer, device
        self._ahead: list[bool] = []  # of tokens that were asked about and not yet pushed
        self._eos: set[int] = set()
        self._others = []
        for criterion in criteria:
            if hasattr(criterion, "eos_token_id"):
                self._eos.update(criterion.eos_token_id.flatten().tolist())
            elif not isinstance(criterion, MaxLengthCriteria):  # decoding's own limit
                self._others.append(criterion)

    def ends(self, token: int) -> bool:
        """Whether the text ends with `token`, which is kept; `push` receives it later."""
        self._ids.append(token)
        self._ahead.append(token in self._eos or self._asked())
        return self._ahead[-1]

    def push(self, token: int) -> str:
        """Take one token; there is no text."""
        if not self._ahead:
            self.ends(token)
        if self._streamer is not None:
            self._streamer.put(torch.tensor([token]))
        self.stopped = self._ahead.pop(0)
        return ""

    def flush(self) -> str:
        """Nothing is held back."""
        return ""

    def whole(self) -> "Ending":
        """Criteria are checked after every token, with or without a reader."""
        return self

    def _asked(self) -> bool:
        if not self._others:
            return False
        ids = torch.tensor([self._ids], device=self._device)
        return any(bool(torch.as_tensor(ask(ids, None)).all()) for ask in self._others)
