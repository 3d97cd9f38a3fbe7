"""transformers' logits processors where our decoding chooses tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dynexit.decoding.sampling import Sampler
from dynexit.decoding.sampling_parameters import Sampling
from dynexit.integrations.transformers.ending import Ending
from dynexit.integrations.transformers.states import is_rowwise, is_stateless
from dynexit.model.readings import Readings


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

    @cached_property
    def stateless(self) -> Any:
        """Those that may be asked about tokens that never come, in any order."""
        return type(self.processors)(filter(is_stateless, self.processors))

    @property
    def ordered(self) -> bool:
        """Whether any other is there, which must hear of each token that stays, once."""
        return len(self.stateless) < len(self.processors)

    def exact(self, logits: Tensor) -> Tensor:
        """A copy in fp32 that processors may write into."""
        return logits.to(self.device, torch.float32, copy=True)

    def __call__(self, processors: Any, scores: Tensor, tokens: Sequence[int]) -> Tensor:
        """Scores [l, V] of l layers after `tokens`, through `processors`: the same shape."""
        ids = torch.tensor([[*self.padding, *tokens]], device=self.device)
        if all(map(is_rowwise, processors)):
            processed: Tensor = processors(ids.expand(len(scores), -1), scores)
            return processed
        seen = ids.expand(self.batch, -1)
        alone = [processors(seen, one.repeat(self.batch, 1))[self.index] for one in scores]
        return torch.stack(alone)


class ProcessorsChooser(Sampler):
    """A sampler whose logits go through processors, position by position with its own context.

    Temperature, top-k and the like are among them, so `sampling` says no more than whether there is
    noise. Drafts and shadow tokens are chosen without processors that may keep a state.

    Args:
        ending: knows which tokens end the text, after which no processor is asked.
    """

    def __init__(
        self, sampling: Sampling, tokens: Sequence[int], processing: Processing, ending: Ending
    ) -> None:
        super().__init__(sampling, tokens)
        self._processing, self._ending, self._ended = processing, ending, False

    @property
    def best_only(self) -> bool:
        """Readings do where nothing is processed."""
        return super().best_only and not self._processing.processors

    def process(self, logits: Tensor, drafts: Sequence[int] = (), first: int = 0) -> Tensor:
        """[..., n, V] in fp32, each position after its own tokens."""
        processors, exact = self._processing.stateless, self._processing.exact(logits)
        if not processors:
            return exact
        done = []
        for index, scores in enumerate(exact.unbind(-2)):
            context = [*self._tokens, *drafts[: max(first + index, 0)]]
            rows = scores.reshape(-1, scores.shape[-1])
            done.append(self._processing(processors, rows, context))
        return torch.stack([row.view_as(exact[..., 0, :]) for row in done], dim=-2)

    def judge(self, logits: Tensor | Readings, drafts: Sequence[int] = ()) -> list[int]:
        """See `Sampler`: no further than drafts stay, where processors may keep a state."""
        if isinstance(logits, Readings) or not self._processing.ordered:
            return super().judge(logits, drafts)
        chosen: list[int] = []
        for index, row in enumerate(self.judged(logits, drafts)):
            chosen += self.best(row[None], index)
            if chosen != list(drafts[: index + 1]):
                break
        return chosen

    def judged(self, logits: Tensor, drafts: Sequence[int]) -> Iterator[Tensor]:
        """See `Sampler`."""
        if not self._processing.ordered:
            yield from super().judged(logits, drafts)
            return
        for index, row in enumerate(self._processing.exact(logits)):
            yield self._in_order(row, drafts[:index])

    def after(self, logits: Tensor, path: Sequence[int]) -> int:
        """See `Sampler`."""
        if not self._processing.ordered:
            return super().after(logits, path)
        row = self._in_order(self._processing.exact(logits)[0], path)
        return self.best(row[None], len(path))[0]

    def _in_order(self, row: Tensor, path: Sequence[int]) -> Tensor:
        """A row's scores [V] after tokens that stay, through all processors. After the end of the
        text there are none: what follows is never written.
        """
        self._ended = bool(path) and (self._ended or self._ending.ends(path[-1]))
        processors = () if self._ended else self._processing.processors
        context = [*self._tokens, *path]
        return self._processing(processors, row[None], context)[0] if processors else row
