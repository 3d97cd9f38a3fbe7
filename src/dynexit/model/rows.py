"""Which positions of which sequences one forward pass computes.

The rows of all sequences lie one after the other, so every matrix product of a layer serves them
together; only attention looks at one sequence at a time.
"""

from collections.abc import Sequence
from copy import copy
from functools import cached_property
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from dynexit.model.cache import KVCache
from dynexit.model.interface import Span
from dynexit.model.rope import RotaryTable


class _Tree(NamedTuple):
    """What a tree's rows see, as `_causal_mask` has it; where in the cache their keys and values
    go, [T]; and the end of all places of the tree.
    """

    mask: Tensor
    places: Tensor
    stop: int


class Rows:
    """The spans of a forward pass: N rows in all, each attending to its own sequence's past."""

    def __init__(self, spans: Sequence[Span], rotary: RotaryTable, like: Tensor) -> None:
        self.spans, self._like = tuple(spans), like
        tables = [_angles(s, rotary, like) for s in self.spans]
        if len(tables) == 1:
            self.cos, self.sin = tables[0]  # [N, 1, head_dim]
        else:
            self.cos, self.sin = (torch.cat(t) for t in zip(*tables, strict=True))
        self._elsewhere: dict[torch.device, Rows] = {}

    @cached_property
    def _masks(self) -> list[Tensor | _Tree | None]:
        """Of each span. Passes that are replayed need none."""
        return [
            _causal_mask(s, self._like) if s.parents is None else _tree(s, self._like)
            for s in self.spans
        ]

    def on(self, device: torch.device) -> "Rows":
        """These rows for layers on `device`: angles are copied there once, masks made there."""
        if device == self.cos.device:
            return self
        if device not in self._elsewhere:
            rows = copy(self)
            rows.cos, rows.sin = self.cos.to(device), self.sin.to(device)
            rows._like = self._like.new_empty(0, device=device)
            vars(rows).pop("_masks", None)
            self._elsewhere[device] = rows
        return self._elsewhere[device]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Append to each sequence's cache, then attend.

        Args:
            layer: 0-based index of the layer whose cache is meant.
            query: [N, num_heads, head_dim]
            key, value: [N, num_kv_heads, head_dim]

        Returns:
            [N, num_heads * head_dim]
        """
        if len(self.spans) == 1:
            return _attend_span(self.spans[0], self._masks[0], layer, query, key, value)
        sizes = [s.length for s in self.spans]
        parts = zip(query.split(sizes), key.split(sizes), value.split(sizes), strict=True)
        outputs = [
            _attend_span(span, mask, layer, *part)
            for span, mask, part in zip(self.spans, self._masks, parts, strict=True)
        ]
        return torch.cat(outputs)


def _angles(span: Span, rotary: RotaryTable, like: Tensor) -> tuple[Tensor, Tensor]:
    cos, sin = rotary.between(span.start, span.stop, like)
    if span.parents is None:
        return cos, sin
    at = torch.tensor(span.depths, device=like.device)
    return cos[at], sin[at]


def _tree(span: Span, like: Tensor) -> _Tree:
    """A row sees what is before the tree, and the rows that it follows."""
    places = span.places
    mask = torch.full((span.length, max(places) + 1), -torch.inf, dtype=like.dtype)
    mask[:, : span.start] = 0
    for row, seen in enumerate(span.lineages):
        mask[row, seen] = 0
    group = cast(KVCache, span.cache).query_group
    return _Tree(
        mask.to(like.device).repeat(group, 1),
        torch.tensor(places[span.first :], device=like.device),
        mask.shape[1],
    )


def _causal_mask(span: Span, like: Tensor) -> Tensor | None:
    """Row t of a span sees positions up to start + t; None where no mask is needed.

    Added to scores [G * T, start + T], since the G query heads that share keys are computed as
    rows; in `like`'s dtype, because every layer would convert a boolean.
    """
    if span.length == 1 or (span.start == 0 and span.window is None):
        return None
    unseen = torch.full((span.length, span.stop), -torch.inf, dtype=like.dtype, device=like.device)
    unseen.triu_(span.start + 1)
    if span.window is not None:
        for row, position in enumerate(range(span.start, span.stop)):
            first = position + 1 - span.window.recent
            unseen[row, span.window.sinks : max(first, 0)] = -torch.inf
    return unseen.repeat(cast(KVCache, span.cache).query_group, 1)


def _attend_span(
    span: Span, sight: Tensor | _Tree | None, layer: int, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    cache, heads, rows = cast(KVCache, span.cache), key.shape[1], span.length
    if isinstance(sight, _Tree):
        mask: Tensor | None = sight.mask
        keys, values = cache.scatter(layer, sight.places, sight.stop, key, value)
    else:
        mask = sight
        keys, values = cache.write(layer, span.start, key, value)
    if rows == 1 and mask is None:
        keys, values = _shown(span, keys), _shown(span, values)
        grouped = query.view(1, heads, -1, query.shape[-1])
        return F.scaled_dot_product_attention(grouped, keys[None], values[None]).view(1, -1)
    if mask is None:
        return _attend_whole(query, keys, values, causal=True)
    grouped = query.unflatten(1, (heads, -1)).permute(1, 2, 0, 3).flatten(1, 2)
    out = F.scaled_dot_product_attention(grouped[None], keys[None], values[None], attn_mask=mask)
    return out[0].unflatten(1, (-1, rows)).permute(2, 0, 1, 3).reshape(rows, -1)


def _shown(span: Span, stored: Tensor) -> Tensor:
    """What a single row sees of keys or values [num_kv_heads, T, head_dim]."""
    if span.window is None or stored.shape[1] <= sum(span.window):
        return stored
    sinks, recent = span.window
    return torch.cat((stored[:, :sinks], stored[:, -recent:]), dim=1)


def _attend_whole(query: Tensor, keys: Tensor, values: Tensor, causal: bool) -> Tensor:
    """[T, H, head_dim], [KVH, S, head_dim] -> [T, H * head_dim]; causal for a whole prompt."""
    out = F.scaled_dot_product_attention(
        query.transpose(0, 1)[None],
        keys[None],
        values[None],
        is_causal=causal,
        enable_gqa=query.shape[1] != keys.shape[0],
    )
    return out[0].transpose(0, 1).reshape(query.shape[0], -1)


class SeeingAll(Rows):
    """The rows of a masked-diffusion model: each sees every position of its sequence up to the end
    of its span, later ones included. Spans are no trees.
    """

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See `Rows.attend`."""
        sizes, outputs = [s.length for s in self.spans], []
        parts = zip(query.split(sizes), key.split(sizes), value.split(sizes), strict=True)
        for span, (queries, keys, values) in zip(self.spans, parts, strict=True):
            held = cast(KVCache, span.cache).write(layer, span.start, keys, values)
            outputs.append(_attend_whole(queries, *held, causal=False))
        return torch.cat(outputs)


class PackedBatch:
    """Whole windows without a cache, for training: B windows of T positions, N = B * T rows."""

    def __init__(self, length: int, rotary: RotaryTable, like: Tensor, causal: bool = True) -> None:
        self.length, self.causal = length, causal
        cos, sin = rotary.between(0, length, like)
        windows = like.shape[0] // length
        self.cos, self.sin = cos.repeat(windows, 1, 1), sin.repeat(windows, 1, 1)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention inside every window; shapes as in `Rows.attend`."""
        del layer
        q, k, v = (t.unflatten(0, (-1, self.length)).transpose(1, 2) for t in (query, key, value))
        gqa = query.shape[1] != key.shape[1]
        out = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, enable_gqa=gqa)
        return out.transpose(1, 2).flatten(0, 1).flatten(1)
