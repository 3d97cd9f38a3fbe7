"""transformers' logits processors where our decoding chooses tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dynexit.decoding.sampling import Chooser
from dynexit.decoding.sampling_parameters import Sampling

# These read nothing but their scores, so that any number of rows goes through them together.
ROWWISE = {
    "TemperatureLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper", "MinPLogitsWarper",
    "TypicalLogitsWarper", "EpsilonLogitsWarper", "EtaLogitsWarper",
}  # fmt: skip


@dataclass(frozen=True)
class Processing:
    """A `LogitsProcessorList`, and the row of the batch whose logits go through it.

    A processor may have prepared something for each row of the batch, so it is shown as many rows
    as it expects, all alike, and row `index` is read.

    Args:
        padding: ids that stand before the sequence's own; processors see them, as they do in plain
            `generate`.
        device: where processors compute: that of the caller's ids.
    """

    processors: Any
    padding: Sequence[int]
    index: int
    batch: int
    device: torch.device

    @property
    def together(self) -> bool:
        """Whether several layers' logits may be processed at once."""
        return all(type(one).__name__ in ROWWISE for one in self.processors)

    def __call__(self, row: Tensor, tokens: Sequence[int]) -> Tensor:
        """Scores [l, V] of l layers after `tokens`: the same shape."""
        ids = torch.tensor([[*self.padding, *tokens]], device=self.device)
        if self.together:
            processed: Tensor = self.processors(ids.expand(len(row), -1), row)
            return processed
        seen = ids.expand(self.batch, -1)
        alone = [self.processors(seen, one.repeat(self.batch, 1))[self.index] for one in row]
        return torch.stack(alone)


class ProcessorsChooser(Chooser):
    """A chooser whose logits go through processors, position by position with its own context.

    Temperature, top-k and the like are among them, so `sampling` says no more than whether there is
    noise.
    """

    def __init__(self, sampling: Sampling, tokens: Sequence[int], processing: Processing) -> None:
        super().__init__(sampling, tokens)
        self._processing = processing

    @property
    def best_only(self) -> bool:
        """Readings do where nothing is processed."""
        return super().best_only and not self._processing.processors

    def process(self, logits: Tensor, drafts: Sequence[int] = (), first: int = 0) -> Tensor:
        """[..., n, V] in fp32, each position after its own tokens."""
        exact = logits.to(self._processing.device, torch.float32, copy=True)
        if not self._processing.processors:
            return exact
        done = []
        for index, scores in enumerate(exact.unbind(-2)):
            context = [*self._tokens, *drafts[: max(first + index, 0)]]
            done.append(self._processing(scores.reshape(-1, scores.shape[-1]), context))
        return torch.stack([row.view_as(exact[..., 0, :]) for row in done], dim=-2)
