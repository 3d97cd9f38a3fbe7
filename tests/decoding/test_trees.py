"""Leaves beside drafted tokens: the text stays plain decoding's, and counts say what happened."""

import random

import pytest
import torch
from tiny import FAMILIES, Fixed, decode, random_model

from dynexit import DynexitError, Sampling
from dynexit.costs.table import Costs
from dynexit.decoding.acceptance import accept
from dynexit.decoding.controllers.auto import FIRST, Auto
from dynexit.decoding.controllers.estimates import SECOND, LeafEstimates
from dynexit.decoding.records import Draft, Plan, Round
from dynexit.decoding.sampling import Chooser
from dynexit.model.drafting_rule import Leaf
from dynexit.model.native.transformer import NativeTransformer
from dynexit.model.readings import Readings

ALWAYS = (1.0,) * 10
FREE_ROWS = Costs((1, 2), (1.0, 1.0), (0.5, 0.5), (0.1, 0.1), 1.0, 0.0, 0.1, 29)
DEAR_ROWS = Costs((1, 2), (1.0, 2.0), (0.5, 1.0), (0.1, 0.2), 1.0, 0.0, 0.1, 29)


class Leafy(Fixed):
    """Draws a leaf beside every token."""

    def __init__(self, exit_layer, length, drafter="early-exit"):
        self.planned = Plan(
            *(exit_layer, length, None, drafter, (), ALWAYS), leaf_odds=ALWAYS, leaf_floor=1.0
        )
        self.drafters = (drafter,)


def native(family, dtype=torch.bfloat16):
    model = random_model(FAMILIES[family], depth_gain=0.6, dtype=torch.float32).to(dtype)
    return NativeTransformer.packing(model, threads=2)


@pytest.mark.parametrize("drafter", ["early-exit", "early-exit-int8"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_text_is_plain_decodings(family, drafter):
    model, draw = native(family), random.Random(7)
    model.copy_for_drafts(3, 29)
    leaves = accepted = 0
    for _ in range(12):
        prompt = [draw.randrange(29) for _ in range(draw.randint(1, 40))]
        length = draw.randint(1, 50)
        eos = frozenset(draw.sample(range(29), draw.choice((0, 2))))
        plain, _ = decode(model, prompt, "vanilla", length, eos)
        controller = Leafy(draw.randint(1, 3), draw.randint(1, 6), drafter)
        tree, chunks = decode(model, prompt, controller, length, eos)
        assert tree.new_tokens == plain.new_tokens
        assert tree.finish_reason == plain.finish_reason
        check(tree, chunks)
        leaves += sum(len(r.leaf_places) for r in tree.stats.rounds)
        accepted += sum(r.leaf_accepted for r in tree.stats.rounds)
    assert leaves > accepted > 10


def check(sequence, chunks):
    stats = sequence.stats
    assert sequence.cache.length == len(sequence.tokens) - 1
    for finished in stats.rounds[:-1]:
        assert finished.tokens == finished.all_accepted + 1
        assert len(finished.leaf_places) == finished.drafted
    assert stats.drafted == sum(r.drafted + len(r.leaf_places) for r in stats.rounds)
    assert sum(chunk.source == "accepted" for chunk in chunks) <= stats.accepted


@pytest.mark.parametrize("options", [{"sampling": Sampling(0.9, seed=1)}, {"watched": True}])
def test_who_cannot_use_leaves_drafts_none(options):
    class Watching(Leafy):
        reads_shadow = options.pop("watched", False)

    sequence, _ = decode(native("llama"), [3, 1, 4], Watching(2, 4), 20, **options)
    assert any(r.drafted for r in sequence.stats.rounds)
    assert not any(r.leaf_places for r in sequence.stats.rounds)


def test_odds_of_leaves_need_those_of_tokens():
    class Odd(Leafy):
        def plan(self):
            return Plan(2, 4, leaf_odds=ALWAYS)

    with pytest.raises(DynexitError, match="10 leaf odds and 0 odds"):
        decode(native("llama"), [3, 1, 4], Odd(2, 4), 20)


def test_pytorchs_layers_draft_none():
    sequence, _ = decode(random_model(), [3, 1, 4], Leafy(2, 4), 20)
    assert not any(r.leaf_places for r in sequence.stats.rounds)


@pytest.mark.parametrize(
    ("says", "accepted", "leaf", "token"),
    [
        ([5, 6, 7, 8, 40, 41], 3, None, 8),  # all of it
        ([5, 9, 0, 0, 40, 41], 1, 1, 41),  # the second token's leaf instead
        ([9, 6, 7, 8, 40, 41], 0, None, 9),  # what stands beside another token is no leaf here
        ([2, 6, 7, 8, 40, 41], 0, 0, 40),
        ([5, 3, 0, 0, 40, 41], 1, None, 3),
    ],
)
def test_a_leaf_is_accepted_where_the_token_beside_it_is_not(says, accepted, leaf, token):
    draft = Draft([5, 6, 7], leaves=[Leaf(0, 2), Leaf(1, 9)])
    zeros = torch.zeros(len(says)).numpy()
    verdict = accept(
        draft, Readings(torch.tensor(says).numpy(), zeros, zeros), Chooser(Sampling(), [1])
    )
    assert (verdict.accepted, verdict.leaf, verdict.token) == (accepted, leaf, token)
    assert verdict.source == ("bonus" if leaf is not None or accepted == 3 else "recovered")
    beside = [] if leaf is None else [draft.leaves[leaf].token]
    assert draft.kept(verdict) == [5, 6, 7][:accepted] + beside


def test_estimates_go_from_what_is_usual_to_what_is_seen():
    estimates = LeafEstimates()
    assert estimates.odds(1.0) == pytest.approx(SECOND)
    assert estimates.odds(0.25) == pytest.approx([odds / 4 for odds in SECOND])  # of a poor layer
    for _ in range(1000):
        estimates.observe(0.55, True)
    assert estimates.odds(1.0)[5] > 0.9
    assert estimates.odds(1.0)[4] == pytest.approx(SECOND[4])


def planned(costs, company=1, **settings):
    controller = Auto(lookup=False, **settings)
    controller.costs = costs
    controller.start(8)
    controller.share(company)
    return controller.plan()


def test_leaves_are_planned_where_rows_are_cheap_and_nobody_waits():
    cheap, dear = planned(FREE_ROWS), planned(DEAR_ROWS, exit_layer=1)
    assert cheap.leaf_odds == pytest.approx(SECOND)
    assert cheap.leaf_floor < min(SECOND[:5])
    assert not dear.leaf_odds
    assert not planned(FREE_ROWS, company=4).leaf_odds
    assert not planned(FREE_ROWS, tree=False).leaf_odds


def test_only_leaves_that_the_target_reached_are_learned_from():
    controller = Auto(lookup=False)
    controller.costs = FREE_ROWS
    controller.start(8)
    finished = Round(
        *(controller.plan(), 4, 1, 3),
        confidences=(0.95, 0.15, 0.25, 0.35),
        leaf_places=(0, 1, 3),
        leaf_accepted=True,
        draft_seconds=8.0,
        verify_seconds=7.0,
    )
    for _ in range(FIRST):
        controller.observe(finished)
    odds = controller.plan().leaf_odds
    assert odds[9] < SECOND[9]
    assert odds[1] > SECOND[1]
    assert odds[3] / SECOND[3] == pytest.approx(odds[5] / SECOND[5])  # never seen
