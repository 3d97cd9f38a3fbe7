"""In the native runtime a row never depends on what lies in slots that it does not see."""

import pytest
import torch
from tiny_checkpoints import prefilled, states_of

from dynexit.model.interface import Span

FORMATS = [(torch.float32, None), (torch.bfloat16, None), (torch.bfloat16, "int8")]
TOKENS, BAD = [11, 3, 7, 19, 5], 120
STARTS = [31, 300, 511, 513]  # about the end of a group and of a block
VALUES = [float("nan"), float("inf")]


@pytest.fixture(params=VALUES, ids=str)
def damaged(request, native, eager):
    """Models whose token 120 has no number for an embedding."""

    def make(dtype, weights):
        model = native(dtype, weights, vocab_size=128)
        model._embedding[BAD] = request.param
        return model

    return make


def plain(model, start):
    """States of TOKENS, one row after the other, in a cache that has held nothing else."""
    cache = prefilled(model, start)
    places = enumerate(TOKENS, start)
    return torch.cat([states_of(model, [t], Span(cache, p, 1)) for p, t in places])


@pytest.mark.parametrize(("dtype", "weights"), FORMATS)
def test_rows_before_one_that_is_no_number(damaged, dtype, weights):
    model = damaged(dtype, weights)
    for start in STARTS:
        given = [*TOKENS, BAD, BAD, 5]
        states = states_of(model, given, Span(prefilled(model, start), start, len(given)))
        assert torch.equal(states[: len(TOKENS)], plain(model, start)), start
        assert not states[len(TOKENS) :].isfinite().any(), start


@pytest.mark.parametrize(("dtype", "weights"), FORMATS)
def test_slots_that_were_rolled_back(damaged, dtype, weights):
    model = damaged(dtype, weights)
    for start in STARTS:
        cache, span = prefilled(model, start), Span
        states_of(model, [BAD] * 40, span(cache, start, 40))
        rows = [states_of(model, [t], span(cache, start + i, 1)) for i, t in enumerate(TOKENS)]
        assert torch.equal(torch.cat(rows), plain(model, start)), start
        states_of(model, [BAD] * 40, span(cache, start, 40))
        together = states_of(model, TOKENS, span(cache, start, len(TOKENS)))
        assert torch.equal(together, plain(model, start)), start


@pytest.mark.parametrize(("dtype", "weights"), FORMATS)
def test_branches_beside_tokens_that_are_no_numbers(damaged, dtype, weights):
    """Each branch is a token that may have stood there; one is no number itself."""
    model = damaged(dtype, weights)
    for start in STARTS:
        cache, expected = prefilled(model, start), plain(model, start)
        span = Span(cache, start, 7, (0, 1, 2, 0, 1, 2), start + 40)
        given = [TOKENS[0], TOKENS[1], BAD, TOKENS[3], BAD, TOKENS[2], 8]
        states = states_of(model, given, span)
        assert torch.equal(states[:2], expected[:2]), start
        assert torch.equal(states[5], expected[2]), start
        assert not states[[2, 3, 4, 6]].isfinite().any(), start
