"""A model in PyTorch whose passes of a few rows are replayed."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from threading import Lock

import torch
from torch import Tensor

from dynexit.model.crossing import Parcel
from dynexit.model.drafting import Drafted
from dynexit.model.drafting_rule import DraftingRule
from dynexit.model.graphs.drafting import draft
from dynexit.model.graphs.pieces import Attend, Pieces, width_of
from dynexit.model.graphs.recording import Recorder
from dynexit.model.interface import Cache
from dynexit.model.readings import Readings
from dynexit.model.rows import Rows
from dynexit.model.skips import Skips
from dynexit.model.transformer import Transformer
from dynexit.model.weighing import Weighed


class RecordedTransformer(Weighed):
    """As the `Transformer` that it is made of, whose weights it uses where they are.

    A pass runs at the next larger recorded number of rows, so that a row's sums may have another
    order than in an eager pass. Passes of more rows than are recorded are eager. Several threads
    may use it: they take turns.
    """

    runtime_name = "graphs"
    rows_independent = False
    most_children = 1

    def __init__(self, eager: Transformer, record: Recorder, attend: Attend) -> None:
        self.eager, self.config = eager, eager.config
        self.device: torch.device = eager.device
        self.devices: Sequence[torch.device] = eager.devices
        self.dtype: torch.dtype = eager.dtype
        self.new_cache, self.rows = eager.new_cache, eager.rows  # these are not recorded
        self.embed, self.unembed = eager.embed, eager.unembed
        self.pieces = Pieces(eager, record, attend)
        self._turn = Lock()

    @property
    def vocabulary_size(self) -> int:
        """See `interface.Model`."""
        return self.eager.vocabulary_size

    @vocabulary_size.setter
    def vocabulary_size(self, tokens: int) -> None:
        self.eager.vocabulary_size = tokens

    @property
    def skipping(self) -> Transformer:
        """See `interface.Model`: recorded layers are whole."""
        return self.eager

    @torch.inference_mode()
    def run_layers(
        self,
        hidden: Tensor,
        rows: Rows,
        start: int,
        stop: int,
        states: list[Tensor] | None = None,
        keep: int | None = None,
        skips: Skips | None = None,
    ) -> Tensor:
        """See `interface.Model`."""
        assert skips is None, "the eager model is the one that is `skipping`"
        width = width_of(len(hidden))
        if width is None:
            return self.eager.run_layers(hidden, rows, start, stop, states, keep)
        with self._turn:
            for first, last in self._together(start, stop):
                stage, count = self.pieces.stage(first, width), len(hidden)
                stage.take(hidden, rows.on(stage.device), rows.spans, first, last)
                self.pieces.run(first, last, width)
                hidden = stage.states[last, :count]
                if states is not None:
                    begin = 0 if keep is None else max(count - keep, 0)
                    left = stage.states[first + 1 : last + 1, begin:count]
                    states += left.to(self.device, copy=True).unbind()
            return hidden.to(self.device, copy=True)

    def _together(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Ranges of layers [start, stop) that are on one device each."""
        for _, group in groupby(range(start, stop), lambda index: self.eager.layer(index).device):
            first, *others = group
            yield first, [first, *others][-1] + 1

    @torch.inference_mode()
    def measure(self, hidden: Tensor, limit: int | None = None) -> Tensor:
        """As `Transformer.measure`."""
        width, count = width_of(len(hidden)), len(hidden)
        tokens = self.eager.limited(limit)
        if width is None or not self.pieces.records_head(tokens):
            return self.eager.measure(hidden, limit)
        with self._turn:
            stage = self.pieces.head(width)
            stage.hidden[:count] = hidden
            self.pieces.measure(tokens, width)
            return stage.numbers[:, :count].clone()

    def read(self, hidden: Tensor, limit: int | None = None) -> Readings:
        """What the logits of `hidden` [N, D] say, in one copy."""
        return Readings.of(Parcel(self.measure(hidden, limit)).open())

    @torch.inference_mode()
    def draft(
        self, cache: Cache, start: int, token: int, rule: DraftingRule, states: bool
    ) -> Drafted:
        """See `interface.Model`."""
        return draft(self, cache, start, token, rule, states)
