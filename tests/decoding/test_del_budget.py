"""DEL on a budget, without a model: numbers in, a plan out."""

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numbers_in import facts, finished, shadows, started

from dynexit import Plan, Round, ShadowTokens
from dynexit.decoding.controllers import methods
from dynexit.decoding.controllers.analysis import LESSON, SHARE, spaced
from dynexit.decoding.controllers.del_ import Del
from dynexit.decoding.costs import Costs
from dynexit.decoding.paying import round_seconds
from dynexit.decoding.records import Draft
from dynexit.methods import make_controller

# A layer takes 1 and the head 1, rows and reading nothing of it next to nothing.
CHEAP = Costs((1, 32), (1.0, 1.1), (1.0, 1.1), (1e-4, 1e-3), 1.0, (0.0, 0.0), 0.0, 100)
DEAR = replace(CHEAP, analysis=1.0)


def priced(costs=CHEAP, num_layers=8, vocabulary=1, **settings):
    return started(Del(**settings), num_layers, costs=costs, draft_vocabulary=vocabulary)


def drafted(layer, count, accepted, confidences=(), shadow=None):
    plan = Plan(layer, count)
    draft = Draft([0] * count, list(confidences))
    return Round(plan, count, accepted, accepted + 1, draft, shadow=shadow)


def of_layers(layers, *confidences):
    return replace(shadows(*confidences), layers=layers)


@pytest.mark.parametrize(
    ("settings", "measured", "planned"),
    [
        ({}, True, True),
        ({"cost": "layers"}, False, False),
        ({"cap": "threshold"}, True, False),
        ({"cost": "layers", "cap": "planned"}, False, True),
        ({"analysis": "full"}, False, False),
        ({"analysis": "full", "cost": "measured"}, True, True),
    ],
)
def test_what_is_not_set_follows_from_the_analysis_and_then_from_the_costs(
    settings, measured, planned
):
    # In seconds the layers of a draft cost nothing and its rows much; in layers it is the reverse.
    dear = replace(CHEAP, layer=(1.0, 3.0), draft_layer=0.0, head=(1e-3, 1e-3))
    controller = priced(dear, 4, None, d_max=3, **settings)
    assert controller.reads_costs == (settings.get("analysis") != "full" or measured)
    once, twice = [0.9, -0.1, -0.1, -0.1], [0.9, 0.9, -0.1, -0.1]
    controller.observe_prompt(of_layers((1, 2, 3), once, once, twice))
    assert controller.plan().exit_layer == (3 if measured else 1)
    started(controller, 4, costs=dear)
    controller.observe_prompt(of_layers((1, 2, 3), once, once, once))
    assert (controller.plan().speculation_length < 3) == planned


@pytest.mark.parametrize(
    ("first", "last", "layers"),
    [(1, 1, [1]), (1, 3, [1, 2, 3]), (3, 3, [3]), (1, 19, [1, 2, 3, 4, 5, 7, 9, 11, 15, 19])],
)
def test_layers_are_spaced_geometrically(first, last, layers):
    assert list(spaced(first, last)) == layers


def test_layers_that_may_not_be_chosen_are_not_analysed():
    assert priced(min_layer=2, max_layer=4).shadow_layers == (2, 3, 4)
    assert priced(exit_layer=3).shadow_layers == (3,)


@pytest.mark.parametrize("last", range(1, 130))
def test_no_layer_lies_far_from_one_that_is_analysed(last):
    layers = spaced(1, last)
    assert (layers[0], layers[-1]) == (1, last)
    assert all(b <= 1.6 * a + 1 for a, b in pairwise(layers))


@pytest.mark.parametrize("method", [name for name in methods() if name.startswith("del")])
def test_where_nothing_is_known_a_plain_step_is_analysed_whatever_it_costs(method):
    controller = make_controller(method)
    plan = started(controller, costs=replace(CHEAP, analysis=1e6)).plan()
    assert plan.speculation_length == 0
    assert plan.shadow == controller.shadow_layers
    controller.observe(finished(shadow=of_layers(plan.shadow, *[[0.9]] * len(plan.shadow))))
    plan = controller.plan()
    assert plan.speculation_length > 0
    assert plan.shadow == ()


def test_all_that_full_analysis_sees_gives_its_rates_and_thresholds():
    dice, full = random.Random(3), started(Del(analysis="full"), 5)
    budget = priced(num_layers=5, cost="layers")
    for turn in range(40):
        accepted = dice.randint(0, 3)
        table = [[dice.uniform(0.1, 1) * dice.choice((1, -1)) for _ in range(accepted + 1)]] * 4
        table = [[dice.choice((1, -1)) * sure for sure in row] for row in table]
        own = dice.randint(0, 3)
        table[own] = [*np.abs(table[own][:-1]), -abs(table[own][-1])]
        shadow = of_layers((1, 2, 3, 4), *table)
        if not turn:
            full.observe_prompt(shadow)
            budget.observe_prompt(shadow)
            continue
        sure = [abs(c) for c in table[own]]
        full.observe(drafted(own + 1, accepted + 1, accepted, sure, shadow))
        seen = without(shadow, own) if turn % 2 else shadow  # the draft tells the same
        budget.observe(drafted(own + 1, accepted + 1, accepted, sure, seen))
        if turn % LESSON:
            continue
        np.testing.assert_allclose(budget.acceptance_rates(), full.acceptance_rates())
        for row in range(4):
            expected = full._analysis.threshold(row)
            assert budget._analysis.threshold(row) == pytest.approx(expected, rel=1e-5)


def without(shadow, row):
    """What a round brings whose own exit layer is not asked."""
    rows = [r for r in range(len(shadow.layers)) if r != row]
    layers = tuple(shadow.layers[r] for r in rows)
    return ShadowTokens(shadow.matched[rows], shadow.confidence[rows], layers)


def test_a_draft_counts_for_its_layer_up_to_the_first_rejected_token():
    controller = priced(num_layers=3, omega=1.0)
    controller.observe_prompt(of_layers((1, 2), [0.9, 0.9, -0.1, -0.1], [0.9, -0.1, 0.9, -0.1]))
    for _ in range(4):
        controller.observe(drafted(1, 3, 1, [0.9, 0.2, 0.9]))  # one accepted, one rejected
    assert controller.acceptance_rates().tolist() == [(2 + 4) / (4 + 8), 2 / 4]


def test_a_threshold_is_learned_from_drafts_alone():
    controller = priced(num_layers=4, exit_layer=2, omega=1.0)
    controller.observe_prompt(of_layers((2,), [0.9]))
    assert controller.plan().threshold == 0.0  # there is none, but confidences are to come
    for _ in range(4):
        controller.observe(drafted(2, 3, 1, [0.7, 0.3, 0.9]))
    expected = ((0.9 + 4 * 0.7) / 5 + 0.3) / 2
    assert controller.plan().threshold == pytest.approx(expected)


def test_confidences_are_not_asked_for_where_nobody_reads_them():
    controller = priced(threshold=False)
    controller.observe_prompt(of_layers(controller.shadow_layers, *[[0.9, 0.8]] * 7))
    assert controller.plan().threshold is None
    controller.observe(drafted(1, 2, 1))
    assert controller.plan().threshold is None


@pytest.mark.parametrize("costs", [CHEAP, DEAR, replace(DEAR, layer=(1.0, 9.0))])
@pytest.mark.parametrize("settings", [{}, {"cost": "layers"}, {"threshold": False}])
def test_analysis_takes_its_share_of_the_time_and_no_more(costs, settings):
    dice, layers = random.Random(1), 12
    controller = priced(costs, layers, 50, **settings)
    controller.observe_prompt(of_layers(controller.shadow_layers, *[[0.9, 0.9, -0.1]] * 9))
    rounds = analyses = 0.0
    for _ in range(400):
        plan = controller.plan()
        count = min(plan.speculation_length, 4)
        accepted = min(dice.choice((0, 1, 1, 4)), count)
        table = [[dice.choice((0.9, 0.8, -0.2)) for _ in range(accepted + 1)] for _ in plan.shadow]
        shadow = of_layers(plan.shadow, *table) if plan.shadow else None
        prices = round_seconds(costs, plan.exit_layer, layers, 50, 4)
        rounds += prices[count]
        if shadow is not None:
            analyses += costs.analysis + costs.unembed(shadow.matched.size, 50)
        controller.observe(drafted(plan.exit_layer, count, accepted, [0.5] * count, shadow))
    assert 0.3 * SHARE < analyses / rounds < 1.1 * SHARE


def test_only_layers_that_may_be_the_best_are_analysed():
    controller = priced(num_layers=9, cost="layers")
    good, bad = [0.9, 0.9, 0.9, -0.1], [0.9, -0.1, -0.1, -0.1]
    rows = [bad, good, good, *[bad] * (len(controller.shadow_layers) - 3)]
    controller.observe_prompt(of_layers(controller.shadow_layers, *rows))
    asked = set()
    for _ in range(300):
        plan = controller.plan()
        asked.add(plan.shadow)
        table = [[0.9, 0.9, -0.1]] * len(plan.shadow)
        shadow = of_layers(plan.shadow, *table) if plan.shadow else None
        controller.observe(drafted(plan.exit_layer, 3, 2, [0.9, 0.9, 0.1], shadow))
    assert () in asked
    assert (2, 3) in asked
    assert max(map(len, asked)) < len(controller.shadow_layers)


def test_a_layer_that_nobody_has_looked_at_for_long_is_analysed_again():
    controller = priced(num_layers=5, cost="layers")
    never, often = [-0.1] * 32, [0.9, 0.9, 0.9, -0.1] * 8
    controller.observe_prompt(of_layers((1, 2, 3, 4), never, often, never, never))
    asked = []
    for _ in range(150):
        asked.append(controller.plan().shadow)
        table = [[0.9, 0.9, 0.9, -0.1] if layer == 2 else [-0.1] * 4 for layer in asked[-1]]
        shadow = of_layers(asked[-1], *table) if asked[-1] else None
        controller.observe(drafted(2, 4, 3, [0.9, 0.9, 0.9, 0.1], shadow))
    assert not any(asked[:20])
    assert any(1 in layers for layers in asked)


def test_in_company_nothing_is_analysed_and_prices_are_those_of_company():
    controller = priced()
    controller.observe_prompt(of_layers(controller.shadow_layers, *[[0.9, -0.1]] * 7))
    for batch_size, asks in ((1, True), (3, False), (1, True)):
        controller.share(batch_size)
        plans = []
        for _ in range(90):
            plans.append(controller.plan())
            controller.observe(drafted(plans[-1].exit_layer, 2, 1, [0.9, 0.2]))
        assert any(plan.shadow for plan in plans) == asks
    controller.share(3)
    expected = [round_seconds(CHEAP.shared(4), layer, 8, 1, 18) for layer in controller._layers]
    np.testing.assert_allclose(controller._prices, expected)


def test_prices_are_those_of_the_context():
    far = replace(CHEAP, position=(0.01, 0.02))
    controller = Del()
    controller.start(facts(8, costs=far, draft_vocabulary=None))
    for context, costs in ((100, far.at(100)), (2_048, far.at(2_048))):
        controller.reach(context)
        expected = [round_seconds(costs, layer, 8, None, 18) for layer in controller._layers]
        np.testing.assert_allclose(controller._prices, expected)


def test_a_fixed_exit_needs_no_analysis():
    controller = priced(exit_layer=3)
    controller.observe_prompt(of_layers((3,), [0.9, 0.8, -0.1]))
    for _ in range(100):
        plan = controller.plan()
        assert (plan.exit_layer, plan.shadow) == (3, ())
        controller.observe(drafted(3, 2, 2, [0.9, 0.9]))


def test_where_drafts_are_dear_rounds_are_plain_steps():
    for analysis in ("budget", "full"):
        dear = replace(CHEAP, layer=(1.0, 40.0))  # every row costs as much as a pass
        controller = priced(dear, analysis=analysis, cost="measured")
        layers = controller.shadow_layers
        controller.observe_prompt(of_layers(layers, *[[0.9, 0.9, -0.1]] * len(layers)))
        assert controller.plan().speculation_length == 0


def test_a_new_prompt_forgets_the_last_one():
    controller = priced()
    controller.observe_prompt(of_layers(controller.shadow_layers, *[[0.9, -0.1]] * 7))
    first = controller.plan()
    for _ in range(30):
        controller.observe(drafted(1, 2, 0, [0.9, 0.9]))
    started(controller, costs=CHEAP, draft_vocabulary=1)
    assert np.isnan(controller.acceptance_rates()).all()
    controller.observe_prompt(of_layers(controller.shadow_layers, *[[0.9, -0.1]] * 7))
    assert controller.plan() == first
