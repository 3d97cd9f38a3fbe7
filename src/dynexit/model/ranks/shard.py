"""One process's part of a model. Every process calls the same methods with the same arguments, in
the same order, and gets the same results: sums and logits of all parts meet in each of them.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from zlib import crc32

import torch
import torch.nn.functional as F
from torch import Tensor

from dynexit.model.crossing import Parcel, sent
from dynexit.model.draft_tokens import DraftTokens
from dynexit.model.interface import Span
from dynexit.model.ranks.cache import CachePart
from dynexit.model.ranks.cuts import BY_COLUMNS, Cut
from dynexit.model.ranks.group import Ranks
from dynexit.model.readings import Readings, numbers_of
from dynexit.model.skips import Skips
from dynexit.model.transformer import Transformer


class Shard(Transformer):
    """Some heads of every layer, some columns of every MLP, and some tokens of embedding and head.

    Attributes:
        read_so_far: a checksum of all tokens that were read of logits; the same in every process.
    """

    def __init__(self, cut: Cut, ranks: Ranks) -> None:
        super().__init__(cut.shape)
        self.cut, self.ranks = cut, ranks
        self.vocabulary_size = cut.config.vocab_size
        self.read_so_far = 0
        self._places: list[Tensor] = []  # of each process's draft tokens among all of them
        self._marks: list[list[int]] = []  # the same on the host
        for layer in self.layers:
            for name in BY_COLUMNS:
                layer.get_submodule(name).register_forward_hook(
                    lambda module, given, part: ranks.add_up(part)
                )

    def new_cache(self) -> CachePart:
        """The part of an empty cache."""
        cache = CachePart(self.config, self.dtype, [self.device] * self.config.num_layers)
        cache.ranks = self.ranks
        return cache

    def embed(self, tokens: Sequence[int] | Tensor) -> Tensor:
        """See `interface.Model`."""
        if not isinstance(tokens, Tensor):
            tokens = sent(tokens, self.device)
        first, end = self.cut.range(self.cut.config.vocab_size)
        elsewhere = (tokens < first) | (tokens >= end)
        rows = F.embedding((tokens - first).masked_fill(elsewhere, 0), self.embedding.weight)
        return self.ranks.add_up(rows.masked_fill(elsewhere[:, None], 0))

    def segment(
        self,
        hidden: Tensor,
        spans: Sequence[Span],
        layers: tuple[int, int],
        watched: bool,
        keep: int | None,
        skips: Skips | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """`run_layers` on spans; returns the states where they are `watched`, too."""
        states: list[Tensor] = []
        taken = states if watched else None
        return self.run_layers(hidden, self.rows(spans), *layers, taken, keep, skips), states

    def resize(self, tokens: int) -> None:
        """Set `vocabulary_size`."""
        self.vocabulary_size = tokens

    def draft_by(self, chosen: DraftTokens) -> None:
        """See `interface.Model`: each process reads those of its tokens."""
        self.draft_tokens = chosen.on(self.device)
        self._marks = [[] for _ in range(self.ranks.size)]
        cuts = [Cut(self.cut.config, rank, self.ranks.size) for rank in range(self.ranks.size)]
        ends = [cut.range(self.cut.config.vocab_size)[1] for cut in cuts]
        for place, token in enumerate(chosen.tokens.tolist()):
            self._marks[bisect_left(ends, token + 1)].append(place)
        self._places = [torch.tensor(m, dtype=torch.long, device=self.device) for m in self._marks]
        own = chosen.tokens[self._marks[self.ranks.rank]]
        first, _ = self.cut.range(self.cut.config.vocab_size)
        self._draft_head = self.head.weight.detach()[(own - first).to(self.device)]

    def unembed(self, hidden: Tensor, limit: int | None = None) -> Tensor:
        """See `interface.Model`."""
        logits, sizes = self._logits(hidden, limit), self._sizes(limit)
        padded = F.pad(logits, (0, max(sizes) - logits.shape[-1]))
        every = self.ranks.gather(padded)
        whole = torch.cat([part[:, :size] for part, size in zip(every, sizes, strict=True)], -1)
        if self.draft_tokens.named(limit) is not None:
            pairs = zip(self._places, sizes, strict=True)
            places = torch.cat([one[:size] for one, size in pairs])
            whole = torch.empty_like(whole).index_copy_(1, places, whole)
        self._note(whole.argmax(-1))
        return self.draft_tokens.spread(whole, limit, self.vocabulary_size)

    def measure(self, hidden: Tensor, limit: int | None = None) -> Tensor:
        """As `Transformer.measure`: each process's best and sums first, then those of all."""
        logits = self._logits(hidden, limit)
        if logits.shape[-1]:
            own = numbers_of(logits)
            own[0] = self._own_places(limit)[own[0].long()]
        else:
            exact = torch.promote_types(logits.dtype, torch.float32)
            own = logits.new_full((3, len(logits)), -torch.inf, dtype=exact)
        places, tops, sums = torch.stack(self.ranks.gather(own), 1)  # each [ranks, N]
        top = tops.amax(0)
        place = places.where(tops == top, torch.inf).amin(0)  # the first of equals
        place = place.where(place.isfinite(), 0)  # of what is no number, any
        named = self.draft_tokens.named(limit)
        token = place if named is None else named[place.long()].to(place.dtype)
        return torch.stack((token, top, sums.logsumexp(0)))

    def read(self, hidden: Tensor, limit: int | None = None) -> Readings:
        """See `interface.Model`."""
        found = Readings.of(Parcel(self.measure(hidden, limit)).open())
        self.read_so_far = crc32(found.tokens.tobytes(), self.read_so_far)
        return found

    def _note(self, tokens: Tensor) -> None:
        self.read_so_far = crc32(tokens.cpu().numpy().tobytes(), self.read_so_far)

    def _logits(self, hidden: Tensor, limit: int | None) -> Tensor:
        """Of this process's tokens."""
        named = self.draft_tokens.named(limit) is not None
        rows = self._draft_head if named else self.head.weight
        return F.linear(self.final_norm(hidden), rows[: self._sizes(limit)[self.ranks.rank]])

    def _sizes(self, limit: int | None) -> list[int]:
        """How many tokens each process reads where the first `limit` are read."""
        if self.draft_tokens.named(limit) is not None:
            assert limit is not None
            return [bisect_left(places, limit) for places in self._marks]
        read, size = self.limited(limit), self.ranks.size
        marks = [self.cut.config.vocab_size * rank // size for rank in range(size + 1)]
        ends = [min(mark, read) for mark in marks]
        return [end - first for first, end in pairwise(ends)]

    def _own_places(self, limit: int | None) -> Tensor:
        """The places of this process's tokens among all; more of them than are read."""
        if self.draft_tokens.named(limit) is not None:
            return self._places[self.ranks.rank]
        return torch.arange(*self.cut.range(self.cut.config.vocab_size), device=self.device)
