"""A leaf is computed as if it stood in the text, to the bit, and can take its place there."""

import pytest
import torch
from tiny_checkpoints import prefilled, states_of

from dynexit.model.drafting_rule import DraftingRule, Leaf
from dynexit.model.interface import Span

FORMATS = [(torch.float32, None), (torch.bfloat16, None), (torch.bfloat16, "int8")]
STARTS = (5, 508, 511, 512, 700)  # near and over the border of two of attention's blocks
CHAIN, BESIDE = [11, 3, 7, 19, 2, 23], {1: 5, 2: 17, 5: 9}  # other tokens for some of its places


def grown(cache, start):
    return Span(cache, start, len(CHAIN), tuple(BESIDE), start + 40)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(("dtype", "weights"), FORMATS)
def test_a_leaf_is_what_its_token_would_be_in_the_text(native, dtype, weights, start):
    model = native(dtype, weights)
    cache = prefilled(model, start)
    plain = states_of(model, CHAIN, Span(cache, start, len(CHAIN)))
    states = states_of(model, [*CHAIN, *BESIDE.values()], grown(cache, start))
    assert torch.equal(states[: len(CHAIN)], plain)
    for row, (place, token) in enumerate(BESIDE.items()):
        other = [*CHAIN[:place], token]
        expected = states_of(model, other, Span(cache, start, place + 1))[-1]
        assert torch.equal(states[len(CHAIN) + row], expected)
        states_of(model, CHAIN, Span(cache, start, len(CHAIN)))  # as it was


def test_leaves_run_through_the_layers_in_parts(native):
    model = native()
    cache, layers = prefilled(model, 40), model.config.num_layers
    tokens = [*CHAIN, *BESIDE.values()]
    whole = states_of(model, tokens, grown(cache, 40))
    first = states_of(model, tokens, grown(cache, 40), (0, 1))
    assert torch.equal(states_of(model, first, grown(cache, 40), (1, layers)), whole)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_leaf_that_moves_is_part_of_the_text(native, dtype, start):
    model = native(dtype)
    cache, beside = prefilled(model, start), list(BESIDE.items())
    states_of(model, [*CHAIN, *BESIDE.values()], grown(cache, start))
    place, token = beside[1]
    cache.move(start + 40 + 1, start + place)
    after = states_of(model, [13, 4], Span(cache, start + place + 1, 2))
    fresh = prefilled(model, start)
    text = [*CHAIN[:place], token, 13, 4]
    assert torch.equal(after, states_of(model, text, Span(fresh, start, len(text)))[-2:])


@pytest.mark.parametrize("finish", [True, False])
def test_a_draft_brings_the_second_choices_that_were_asked_for(native, finish):
    model = native(torch.bfloat16)
    start, odds = 30, (1.0,) * 10
    cache = prefilled(model, start)
    rule = DraftingRule(1, 4, odds=odds, finish=finish, leaf_odds=odds, leaf_floor=1.0)
    draft = model.draft(cache, start, 7, rule, False)
    text = [7, *draft.tokens]
    states = states_of(model, text, Span(cache, start, 5), (0, 1))
    logits = model.unembed(states[:4])
    best = logits.topk(2).indices.tolist()
    assert draft.tokens == [row[0] for row in best]
    assert draft.leaves == [Leaf(place, row[1]) for place, row in enumerate(best)]
    assert draft.hidden.shape[0] == 5 + 4
    assert torch.equal(draft.hidden[: 4 + finish], states[: 4 + finish])
    if finish:
        tokens = [*text, *(leaf.token for leaf in draft.leaves)]
        span = Span(cache, start, 5, (1, 2, 3, 4), start + 5)
        assert torch.equal(states_of(model, tokens, span, (0, 1)), draft.hidden)


def test_leaves_are_drafted_where_they_are_worth_it(native):
    model = native()
    cache = prefilled(model, 30)
    chances = {"odds": (0.5,) * 10, "leaf_odds": (0.4,) * 10}
    for floor, count in ((0.5, 0), (0.3, 1), (0.15, 2), (0.0, 5)):
        rule = DraftingRule(1, 5, **chances, leaf_floor=floor)
        assert len(model.draft(cache, 30, 7, rule, False).leaves) == count
    watched = DraftingRule(1, 5, **chances)
    assert not model.draft(cache, 30, 7, watched, True).leaves  # states are wanted of tokens only


def test_the_second_choice_may_lie_anywhere(native):
    model = native()
    cache = prefilled(model, 30)
    rule = DraftingRule(1, 1, odds=(1.0,) * 10, leaf_odds=(1.0,) * 10)
    for token in range(60):
        draft = model.draft(cache, 30, token, rule, False)
        logits = model.unembed(draft.hidden[:1])[0]
        best, second = logits.topk(2).indices.tolist()
        assert (draft.tokens, draft.leaves) == ([best], [Leaf(0, second)])
