"""How drafts grow: the rule in Python and the native library's are one."""

import random

import pytest
import torch
from tiny_checkpoints import prefilled, states_of

from dynexit.model.drafting_rule import Child, DraftingRule, Growth, Pricing
from dynexit.model.interface import Span

SURE = ((1.0,) * 10,)
EXACT = (1.0, 0.75, 0.5, 0.25)  # products of a few are the same in fp32 and in Python


def told(model, start, newest, rule):
    """The draft as Python grows it, from logits of whole paths."""
    growth = Growth(rule)
    texts = {0: [newest]}
    while not growth.over:
        children = []
        for row in growth.open:
            cache = prefilled(model, start)
            span = Span(cache, start, len(texts[row]))
            state = states_of(model, texts[row], span, (0, rule.exit_layer))[-1:]
            chances = model.unembed(state)[0, : rule.limit].softmax(-1)
            best = chances.topk(rule.ranks)
            children += [
                Child(
                    row,
                    rank,
                    int(best.indices[rank]),
                    float(best.values[rank]),
                    float(best.values[0]),
                )
                for rank in range(rule.ranks)
            ]
        growth.grow(children)
        for row in growth.fresh:
            parent = growth.nodes.parents[row - 1]
            texts[row] = [*texts[parent], growth.nodes.tokens[row - 1]]
    return growth.nodes


def random_rule(draw):
    ranks, bins, nodes = draw.randint(1, 4), draw.choice((1, 4, 10)), draw.randint(1, 12)
    odds = tuple(tuple(draw.choice(EXACT) for _ in range(bins)) for _ in range(ranks))
    rows = tuple(sorted(draw.uniform(0.0, 0.3) for _ in range(nodes)))
    levels = tuple(draw.uniform(0.0, 0.5) for _ in range(draw.randint(0, 4)))
    pricing = Pricing(odds, rows, levels) if draw.random() < 0.8 else None
    return DraftingRule(
        exit_layer=1,
        depth=draw.randint(1, 6),
        threshold=draw.choice((0.0, 0.0, 0.02)),
        pricing=pricing,
        eos=frozenset(draw.sample(range(60), 3)),
        limit=draw.choice((None, 40)),
        finish=draw.random() < 0.5,
    )


@pytest.mark.parametrize("seed", range(12))
def test_python_and_the_library_grow_the_same_draft(native, seed):
    draw, model = random.Random(seed), native()
    for _ in range(3):
        rule, start, newest = random_rule(draw), draw.randint(1, 60), draw.randrange(60)
        drafted = model.draft(prefilled(model, start), start, newest, rule, False)
        expected = told(model, start, newest, rule)
        got = drafted.nodes
        assert (got.tokens, got.parents, got.ranks) == (
            expected.tokens,
            expected.parents,
            expected.ranks,
        )
        assert got.confidences == pytest.approx(expected.confidences, rel=1e-4)
        assert drafted.hidden.shape[0] == len(got.tokens) + 1


@pytest.mark.parametrize("seed", range(6))
def test_states_are_what_verification_would_compute(native, seed):
    draw, model = random.Random(100 + seed), native(torch.bfloat16)
    pricing = Pricing(((0.9,) * 10, (0.7,) * 10, (0.5,) * 10), (0.05,) * 20, ())
    rule, start = DraftingRule(1, 5, pricing=pricing), draw.choice((30, 505))
    drafted = model.draft(cache := prefilled(model, start), start, 7, rule, False)
    nodes = drafted.nodes
    assert max(nodes.ranks) == 2
    kept = drafted.hidden.clone()
    span = Span(cache, start, len(nodes.tokens) + 1, nodes.parents, rule.slot(start))
    assert torch.equal(states_of(model, [7, *nodes.tokens], span, (0, 1)), kept)


def test_a_token_that_is_no_number_has_no_children():
    growth = Growth(DraftingRule(1, 3))
    assert not growth.grow([Child(0, 0, 5, float("nan"), float("nan"))])
    assert growth.over


def test_branches_with_states_of_each_layer_are_refused(native):
    model = native()
    rule = DraftingRule(1, 3, pricing=Pricing(SURE * 2, (0.0,) * 3, ()))
    with pytest.raises(Exception, match="must be a chain"):
        model.draft(prefilled(model, 5), 5, 1, rule, True)
