"""Verification in one call says what embedding, layers and head say apart, to the bit."""

import numpy as np
import pytest
import torch
from tiny_checkpoints import prefilled, refusal, states_of, tokens_for

from dynexit.model.drafting_rule import DraftingRule
from dynexit.model.interface import Span
from dynexit.model.native.workspace import ROWS

FORMATS = [(torch.float32, None), (torch.bfloat16, None), (torch.bfloat16, "int8")]
TOKENS, PARENTS = [11, 3, 7, 19, 5, 17], (0, 1, 2, 0, 2)


def same(found, apart):
    return all(np.array_equal(*pair) for pair in zip(vars_of(found), vars_of(apart), strict=True))


def vars_of(readings):
    return readings.tokens, readings.top, np.isnan(readings.log_sum)


@pytest.mark.parametrize("start", [5, 510])
@pytest.mark.parametrize(("dtype", "weights"), FORMATS)
def test_a_tree_is_read_as_by_three_calls(native, dtype, weights, start):
    model = native(dtype, weights)
    cache, depth = prefilled(model, start), model.config.num_layers
    span = Span(cache, start, len(TOKENS), PARENTS, start + 40)
    apart = model.read(states_of(model, TOKENS, span))
    assert same(model.verify(TOKENS, span, 0, depth), apart)
    begun = states_of(model, TOKENS, span, (0, 1))
    assert same(model.verify(begun, span, 1, depth), apart)


def test_a_draft_goes_on_where_its_states_lie(native):
    model = native(torch.bfloat16)
    cache, depth = prefilled(model, 30), model.config.num_layers
    draft = model.draft(cache, 30, 7, DraftingRule(1, 4), False)
    span = Span(cache, 30, 5)
    apart = model.read(states_of(model, [7, *draft.nodes.tokens], span))
    assert same(model.verify(draft.hidden, span, 1, depth), apart)


def test_more_rows_than_there_was_room_for(native):
    model, rows = native(), 3 * ROWS
    cache, tokens = prefilled(model, 10), tokens_for(rows).tolist()
    span = Span(cache, 10, rows)
    apart = model.read(states_of(model, tokens, span))
    assert same(model.verify(tokens, span, 0, model.config.num_layers), apart)
    draft = model.draft(cache, 10, 7, DraftingRule(1, rows), False)
    assert len(draft.nodes.tokens) == rows
    assert draft.hidden.shape[0] == rows + 1


def test_what_a_text_worked_in_serves_the_next(native):
    model = native()
    first = model.new_cache()
    workspace = first.workspace(1)
    other = model.new_cache()
    assert other.workspace(1) is not workspace  # two at once have one each
    del first
    assert model.new_cache().workspace(1) is workspace


def test_positions_past_the_context_are_refused(native):
    model = native()
    cache = model.new_cache()
    span, depth = Span(cache, 1023, 2), model.config.num_layers
    assert "past the model's context of 1024" in refusal(
        lambda: model.verify([1, 2], span, 0, depth)
    )
