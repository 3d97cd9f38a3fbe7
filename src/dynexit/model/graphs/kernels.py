"""Attention of a few rows as CUDA kernels, which Triton compiles for the card at hand.

One program serves a head of a row, or a part of what it sees: a row's sums have the same order
whatever rows are beside it.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from dynexit.model.graphs import sight as columns
from dynexit.model.graphs.sight import Sight

SPLITS = 16  # parts of what a row sees: one row alone keeps a card busy, too
BLOCK = 64  # positions at once
SLOT, SEEN = tl.constexpr(columns.SLOT), tl.constexpr(columns.SEEN)
LISTED, DEPTH = tl.constexpr(columns.LISTED), tl.constexpr(columns.DEPTH)
COLUMNS = tl.constexpr(columns.COLUMNS)
LOWEST = tl.constexpr(-1.0e30)  # the score of what is not seen: from infinities come no numbers


def attend(sight: Sight, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """See `pieces.Attend`."""
    (width, heads, dim), kv_heads = query.shape, key.shape[1]
    exact = torch.promote_types(query.dtype, torch.float32)
    sums = torch.empty(width, heads, SPLITS, dim, dtype=exact, device=query.device)
    scores = torch.empty(width, heads, SPLITS, 2, dtype=exact, device=query.device)
    attended = torch.empty(width, heads * dim, dtype=query.dtype, device=query.device)
    caches, padded = sight.caches[layer], triton.next_power_of_2(dim)
    new = key, value, key.stride(0), value.stride(0)  # heads of a row lie side by side
    _store[width, kv_heads, 2](*new, sight.rows, caches, width, dim, padded)
    seen = query, query.stride(0), sight.rows, caches, sums, scores, width
    number = tl.float64 if exact == torch.float64 else tl.float32
    _attend[width, heads, SPLITS](
        *seen, dim**-0.5, heads // kv_heads, dim, padded, SPLITS, BLOCK, number
    )
    _join[width, heads](sums, scores, attended, dim, padded, SPLITS)
    return attended


@triton.jit
def _store(
    key, value, key_stride, value_stride, rows, caches, width,
    DIM: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """Puts the key or the value of a head of a row into the cache."""
    row, head, which = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    slot = tl.load(rows + row * COLUMNS + SLOT)
    if slot >= 0:
        at = tl.arange(0, PADDED)
        new = key + row * key_stride if which == 0 else value + row * value_stride
        numbers = tl.load(new + head * DIM + at, mask=at < DIM)
        store = tl.load(caches + which * width + row).to(tl.pointer_type(key.dtype.element_ty))
        capacity = tl.load(caches + 2 * width + row)
        tl.store(store + (head * capacity + slot) * DIM + at, numbers, mask=at < DIM)


@triton.jit
def _seen(
    best, total, sums, query, keys, values, places, there, at,
    DIM: tl.constexpr, NUMBER: tl.constexpr,
):  # fmt: skip
    """Adds some positions to a sum of values weighted by exp(score - best), and to their total."""
    mask = there[:, None] & (at < DIM)[None, :]
    offsets = places[:, None] * DIM + at[None, :]
    key = tl.load(keys + offsets, mask=mask, other=0.0).to(NUMBER)
    score = tl.where(there, tl.sum(key * query[None, :], 1), LOWEST)
    top = tl.maximum(best, tl.max(score, 0))
    weight = tl.where(there, tl.exp(score - top), 0.0)
    before = tl.exp(best - top)
    value = tl.load(values + offsets, mask=mask, other=0.0).to(NUMBER)
    return (
        top,
        total * before + tl.sum(weight, 0),
        sums * before + tl.sum(weight[:, None] * value, 0),
    )


@triton.jit
def _attend(
    query, stride, rows, caches, sums, scores, width,
    SCALE: tl.constexpr, GROUP: tl.constexpr, DIM: tl.constexpr, PADDED: tl.constexpr,
    SPLITS: tl.constexpr, BLOCK: tl.constexpr, NUMBER: tl.constexpr,
):  # fmt: skip
    """One part of what a head of a row sees; the last part also sees what is listed."""
    row, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    own, at = row * tl.num_programs(1) + head, tl.arange(0, PADDED)
    numbers = tl.load(query + row * stride + head * DIM + at, mask=at < DIM, other=0.0)
    numbers = numbers.to(NUMBER) * SCALE
    pointer = tl.pointer_type(query.dtype.element_ty)
    first = head // GROUP * tl.load(caches + 2 * width + row) * DIM
    keys = tl.load(caches + row).to(pointer) + first
    values = tl.load(caches + width + row).to(pointer) + first
    seen = tl.load(rows + row * COLUMNS + SEEN)
    each = tl.cdiv(tl.cdiv(seen, SPLITS), BLOCK) * BLOCK
    best = tl.full((), LOWEST, NUMBER)
    total = tl.zeros((), NUMBER)
    sum_ = tl.zeros((PADDED,), NUMBER)
    stop = tl.minimum(split * each + each, seen)
    for begin in range(split * each, stop, BLOCK):
        places = begin + tl.arange(0, BLOCK)
        best, total, sum_ = _seen(
            best, total, sum_, numbers, keys, values, places, places < stop, at, DIM, NUMBER
        )
    if split == SPLITS - 1:
        places = tl.load(rows + row * COLUMNS + LISTED + tl.arange(0, DEPTH))
        best, total, sum_ = _seen(
            best, total, sum_, numbers, keys, values, places, places >= 0, at, DIM, NUMBER
        )
    part = own * SPLITS + split
    tl.store(sums + part * DIM + at, sum_, mask=at < DIM)
    tl.store(scores + 2 * part, best)
    tl.store(scores + 2 * part + 1, total)


@triton.jit
def _join(
    sums, scores, attended, DIM: tl.constexpr, PADDED: tl.constexpr, SPLITS: tl.constexpr
):  # fmt: skip
    """Brings the parts of a head of a row together."""
    own, at = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), tl.arange(0, PADDED)
    parts = own * SPLITS + tl.arange(0, SPLITS)
    best, total = tl.load(scores + 2 * parts), tl.load(scores + 2 * parts + 1)
    weight = tl.exp(best - tl.max(best, 0))
    each = tl.load(sums + parts[:, None] * DIM + at[None, :], mask=(at < DIM)[None, :], other=0.0)
    whole = tl.sum(total * weight, 0)
    joined = tl.sum(each * weight[:, None], 0) / tl.where(whole > 0, whole, 1.0)
    tl.store(attended + own * DIM + at, joined, mask=at < DIM)
