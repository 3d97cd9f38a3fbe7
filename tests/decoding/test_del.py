"""DEL as published, without a model: shadow tokens in, a plan out."""

import itertools
import math
import random
from functools import partial

import numpy as np
import pytest
from numbers_in import finished, shadows, started

from dynexit import DynexitError, Plan, ShadowTokens
from dynexit.decoding.controllers import del_, methods
from dynexit.decoding.controllers.del_ import expected_tokens, loaded_layers
from dynexit.decoding.plans import PLAIN_STEP
from dynexit.methods import make_controller

NAN = float("nan")
Del = partial(del_.Del, analysis="full")
PUBLISHED = {"analysis": "full"}


def token_per_layer(rates, d_max, num_layers):
    layers = range(1, len(rates) + 1)
    return expected_tokens(np.array(rates), d_max) / loaded_layers(layers, d_max, num_layers)


# Token per layer


def test_tpl_by_hand():
    table = token_per_layer([0.5, 1.0, 0.0], d_max=2, num_layers=4)
    expected = [
        [1 / 4, 1.5 / (1 + 4), 1.75 / (2 + 4)],
        [1 / 4, 2 / (2 + 4), 3 / (4 + 4)],
        [1 / 4, 1 / (3 + 4), 1 / (6 + 4)],
    ]
    np.testing.assert_allclose(table, expected)


def test_tpl_is_the_papers_closed_form_below_one():
    rates = [0.1, 0.5, 0.93, 0.999]
    table = token_per_layer(rates, d_max=18, num_layers=16)
    for (row, rate), d in itertools.product(enumerate(rates), range(19)):
        closed = (1 - rate ** (d + 1)) / ((1 - rate) * (d * (row + 1) + 16))
        assert table[row, d] == pytest.approx(closed)


def test_tpl_promises_nothing_of_a_layer_without_a_rate():
    table = token_per_layer([NAN, 0.5], d_max=3, num_layers=4)
    assert np.isnan(table[0]).all()
    assert np.isfinite(table[1]).all()


# DEL


def test_del_starts_with_the_papers_settings():
    controller = Del()
    assert (controller.omega, controller.d_max, controller.prompt_positions) == (0.95, 18, 32)
    assert controller.threshold
    assert controller.reads_shadow
    assert not controller.reads_costs
    assert controller.draft_vocabulary is None


@pytest.mark.parametrize("method", [name for name in methods() if name.startswith("del")])
def test_without_an_observation_the_first_round_is_plain(method):
    controller = started(make_controller(method, **PUBLISHED))
    assert controller.plan().speculation_length == 0
    empty = ShadowTokens(np.zeros((7, 0), bool), np.zeros((7, 0), np.float32))
    controller.observe(finished(shadow=empty))
    assert controller.plan().speculation_length == 0


def test_acceptance_rates_decay_once_a_round_and_never_within_the_prompt():
    controller = started(Del(omega=0.5), 3)
    assert np.isnan(controller.acceptance_rates()).all()
    controller.observe_prompt(shadows([0.9, 0.8, 0.7, -0.2], [-0.1, -0.1, -0.1, -0.1]))
    np.testing.assert_allclose(controller.acceptance_rates(), [3 / 4, 0])
    controller.observe(finished(1, 0, shadows([-0.3], [0.6])))
    np.testing.assert_allclose(controller.acceptance_rates(), [1.5 / 3, 1 / 3])
    controller.observe(finished(2, 1, shadows([0.5, 0.5], [0.5, -0.5])))
    np.testing.assert_allclose(controller.acceptance_rates(), [2.75 / 3.5, 1.5 / 3.5])


def test_a_round_without_shadow_tokens_still_ages_what_is_known():
    controller = started(Del(omega=0.5), 2)
    controller.observe_prompt(shadows([0.9, 0.9]))
    controller.observe(finished())
    controller.observe(finished(shadow=shadows([-0.1])))
    np.testing.assert_allclose(controller.acceptance_rates(), [0.5 / 1.5])


def test_the_threshold_is_the_midpoint_of_two_decayed_means():
    controller = started(Del(omega=0.5, exit_layer=1), 2)
    controller.observe_prompt(shadows([0.9, 0.7, -0.2]))
    assert controller.plan().threshold == pytest.approx((0.8 + 0.2) / 2)
    controller.observe(finished(1, 0, shadows([0.4, -0.5])))
    matched = (0.5 * 1.6 + 0.4) / (0.5 * 2 + 1)
    mismatched = (0.5 * 0.2 + 0.5) / (0.5 * 1 + 1)
    assert controller.plan().threshold == pytest.approx((matched + mismatched) / 2)


@pytest.mark.parametrize("layer", [[0.9, 0.8], [-0.1, -0.2]])
def test_there_is_no_threshold_while_only_one_kind_was_seen(layer):
    controller = started(Del(), 2)
    controller.observe_prompt(shadows(layer))
    assert controller.plan() == Plan(1, 18, None)


def test_every_layer_has_its_own_threshold():
    controller = started(Del(), 4)
    controller.observe_prompt(shadows([-0.9, -0.9, 0.1], [0.8, 0.6, -0.4], [-0.9, -0.9, 0.1]))
    plan = controller.plan()
    assert plan.exit_layer == 2
    assert plan.threshold == pytest.approx((0.7 + 0.4) / 2)


def test_the_exit_layer_is_that_of_the_greatest_token_per_layer():
    controller = started(Del(), 4)
    controller.observe_prompt(shadows([1, -1, -1, -1], [1, 1, 1, -1], [1, 1, 1, 1]))
    # a = 1/4, 3/4, 1: at best 1.3125 / 6 = .25 (d = 0 or 1), 1.75 / 6 = .29, 19 / 58 = .33
    plan = controller.plan()
    assert (plan.exit_layer, plan.speculation_length) == (3, 18)
    controller = started(Del(d_max=2), 4)
    controller.observe_prompt(shadows([1, -1, -1, -1], [1, 1, 1, -1], [1, 1, 1, 1]))
    assert controller.plan().exit_layer == 3  # 3 / 10 is still more than 1.75 / 6
    controller = started(Del(d_max=1), 4)
    controller.observe_prompt(shadows([1, -1, -1, -1], [1, 1, 1, -1], [1, 1, 1, 1]))
    assert controller.plan().exit_layer == 2  # 1.75 / 6 against 2 / 7


def test_ties_go_to_the_shallowest_layer():
    controller = started(Del(), 4)
    controller.observe_prompt(shadows([-1.0], [-1.0], [-1.0]))
    assert controller.plan().exit_layer == 1


def test_a_layer_without_observations_is_not_eligible():
    controller = started(Del(), 4)
    controller._analysis._counts[:] = [[0, 5, 1], [0, 5, 9]]
    assert np.isnan(controller.acceptance_rates()[0])
    assert controller.plan().exit_layer == 2


def test_the_planned_length_caps_drafting_only_where_it_is_asked_to():
    seen = shadows([0.9, 0.9, -0.3], [0.9, 0.9, 0.9])
    lengths = {}
    for cap in ("threshold", "planned"):
        controller = started(Del(cap=cap, exit_layer=1), 3)
        controller.observe_prompt(seen)
        lengths[cap] = controller.plan()
    # a = 2/3, L = 3: 1/3, 1.667/4, 2.111/5, 2.407/6: the most is at d = 2
    assert lengths == {
        "threshold": Plan(1, 18, pytest.approx(0.6)),
        "planned": Plan(1, 2, pytest.approx(0.6)),
    }


def test_a_planned_length_of_zero_is_a_plain_step():
    seen = shadows([-0.5, -0.5], [-0.5, -0.5])
    for options in ({"cap": "planned"}, {"threshold": False}):
        controller = started(Del(**options), 3)
        controller.observe_prompt(seen)
        assert controller.plan().speculation_length == 0
    controller = started(Del(), 3)
    controller.observe_prompt(seen)
    assert controller.plan() == Plan(1, 18, None)  # as published


def test_where_no_draft_pays_del_takes_the_layer_that_loses_least():
    controller = started(Del(), 4)
    # L = 4: d = 0 gives 1/4; at d = 1 a = 0, .2 and .25 give 1/5, 1.2/6 and 1.25/7
    seen = np.zeros((3, 20)) - 0.5
    seen[1, :4], seen[2, :5] = 0.5, 0.5
    controller.observe_prompt(shadows(*seen))
    assert controller.plan().exit_layer in (1, 2)
    seen[1, 4] = 0.5
    started(controller, 4)
    controller.observe_prompt(shadows(*seen))
    assert controller.plan().exit_layer == 2  # 1.25 / 6


def test_del_e_plans_the_best_length_and_has_no_threshold():
    controller = started(make_controller("del-e", **PUBLISHED), 3)
    controller.observe_prompt(shadows([0.9, 0.9, -0.3], [-0.9, 0.9, -0.9]))
    assert controller.plan() == Plan(1, 2, None)


def test_del_d_stays_at_its_exit_layer():
    controller = started(make_controller("del-d", exit_layer=2, **PUBLISHED), 4)
    controller.observe_prompt(shadows([0.9, 0.9], [-0.4, 0.6], [0.9, 0.9]))
    assert controller.plan() == Plan(2, 18, pytest.approx(0.5))


def test_del_d_goes_to_a_quarter_of_each_models_depth():
    controller = make_controller("del-d", **PUBLISHED)
    for num_layers, quarter in ((8, 2), (40, 10), (3, 1)):
        started(controller, num_layers)
        controller.observe_prompt(shadows(*[[0.9]] * (num_layers - 1)))
        assert controller.plan().exit_layer == quarter


def test_del_e_lim_never_goes_below_layer_four():
    controller = started(make_controller("del-e-lim", **PUBLISHED), 8)
    controller.observe_prompt(shadows(*[[0.9, 0.9]] * 7))
    assert controller.plan() == Plan(4, 18, None)
    started(controller, 8)
    controller.observe_prompt(shadows(*[[0.9, 0.9]] * 3, *[[-0.9, -0.9]] * 4))
    assert controller.plan().speculation_length == 0


def test_a_new_prompt_forgets_the_last_one():
    controller = started(Del(), 3)
    controller.observe_prompt(shadows([0.9, -0.1], [0.9, -0.1]))
    started(controller, 3)
    assert np.isnan(controller.acceptance_rates()).all()


class DelByLoops:
    """DEL written down from the paper, one number at a time."""

    def __init__(self, num_layers, omega, d_max, use_threshold, cap, min_layer):
        self.num_layers, self.omega, self.d_max = num_layers, omega, d_max
        self.use_threshold, self.cap, self.min_layer = use_threshold, cap, min_layer
        # per layer: matched, mismatched, confidence of matched, of mismatched
        self.seen = {layer: [0.0, 0.0, 0.0, 0.0] for layer in range(1, num_layers)}

    def observe(self, shadow, decay=True):
        for layer, seen in self.seen.items():
            if decay:
                seen[:] = [self.omega * value for value in seen]
            for matched, sure in zip(
                shadow.matched[layer - 1], shadow.confidence[layer - 1], strict=True
            ):
                seen[0 if matched else 1] += 1
                seen[2 if matched else 3] += float(sure)

    def promise(self, layer, length):
        matched, mismatched = self.seen[layer][:2]
        rate = matched / (matched + mismatched)
        tokens = math.fsum(rate**k for k in range(length + 1))
        return tokens / (length * layer + self.num_layers)

    def plan(self):
        layers = [a for a, s in self.seen.items() if s[0] + s[1] > 0 and a >= self.min_layer]
        if not layers:
            return PLAIN_STEP
        pairs = itertools.product(layers, range(self.d_max + 1))
        layer, length = max(pairs, key=lambda pair: self.promise(*pair))
        if length == 0:
            layer = max(layers, key=lambda a: self.promise(a, 1))
        matched, mismatched, sure, unsure = self.seen[layer]
        threshold = None
        if self.use_threshold and matched and mismatched:
            threshold = pytest.approx((sure / matched + unsure / mismatched) / 2)
        published = self.use_threshold and self.cap == "threshold"
        return Plan(layer, self.d_max if published else length, threshold)


@pytest.mark.parametrize("seed", range(12))
def test_del_follows_the_paper_over_many_rounds(seed):
    dice = random.Random(seed)
    num_layers, omega, d_max = dice.randint(2, 12), dice.uniform(0.5, 1), dice.randint(1, 18)
    threshold, cap = dice.random() < 0.7, dice.choice(["threshold", "planned"])
    min_layer = dice.randint(1, num_layers - 1)
    controller = started(
        Del(omega=omega, d_max=d_max, threshold=threshold, cap=cap, min_layer=min_layer),
        num_layers,
    )
    reference = DelByLoops(num_layers, omega, d_max, threshold, cap, min_layer)
    skill = [dice.uniform(0.05, 0.95) for _ in range(num_layers - 1)]

    def some_shadows(count):
        table = [[dice.uniform(0.01, 1) for _ in range(count)] for _ in skill]
        for row, rate in zip(table, skill, strict=True):
            row[:] = [c if dice.random() < rate else -c for c in row]
        return shadows(*table)

    prompt = some_shadows(dice.randint(1, 32))
    controller.observe_prompt(prompt)
    reference.observe(prompt, decay=False)
    for _ in range(30):
        plan, expected = controller.plan(), reference.plan()
        assert plan == expected
        count = dice.randint(1, max(plan.speculation_length, 1))
        shadow = some_shadows(count)
        controller.observe(finished(plan.speculation_length, count - 1, shadow))
        reference.observe(shadow)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"cap": "sometimes"}, "cap is 'sometimes'"),
        ({"omega": 0.0}, "omega is 0.0"),
        ({"omega": 1.01}, "omega is 1.01"),
        ({"d_max": 0}, "d_max"),
        ({"prompt_positions": -1}, "prompt_positions"),
        ({"min_layer": 0}, "min_layer is 0"),
        ({"min_layer": 8}, "min_layer 8"),
    ],
)
def test_del_refuses_settings_by_name(settings, named):
    with pytest.raises(DynexitError, match=named):
        started(make_controller("del", **settings))


def test_del_e_lim_says_so_where_the_model_has_too_few_layers():
    with pytest.raises(DynexitError, match="min_layer 4 is not between 1 and 3"):
        started(make_controller("del-e-lim"), 4)


@pytest.mark.parametrize(
    "settings", [{"max_layer": 2, "min_layer": 3}, {"max_layer": 2, "exit_layer": 3}]
)
def test_a_max_layer_that_leaves_nothing_is_refused(settings):
    with pytest.raises(DynexitError, match="max_layer 2"):
        started(make_controller("del", **settings), 6)
