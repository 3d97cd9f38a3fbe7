"""`auto`: whatever it chooses, the text is plain decoding's; and it chooses what pays."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numbers_in import started
from tiny import (
    CHEAP_DRAFTS,
    FAMILIES,
    always_agreeing,
    decode,
    never_agreeing,
    new_tokens,
    random_model,
)

from dynexit import DynexitError, LanguageModel, Sampling
from dynexit.decoding.controllers.auto import Auto
from dynexit.decoding.controllers.estimates import ExitEstimates
from dynexit.decoding.controllers.pricing import Option
from dynexit.decoding.controllers.tuning import TUNING
from dynexit.decoding.costs import Costs
from dynexit.decoding.offer import Panel
from dynexit.decoding.plans import Plan
from dynexit.decoding.proposers.lookup import Lookup
from dynexit.decoding.records import Draft, Round, ShadowTokens
from dynexit.methods import make_controller

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 1, 4]
PARTS = [dict(zip(("exits", "lookup", "table", "shadow"), on, strict=True))
         for on in product((True, False), repeat=4)]  # fmt: skip

# A drafted token costs a fifth of a plain step, and a row more of a pass next to nothing.
DEAR_DRAFTS = Costs((1, 2), (1.0, 1.02), (0.5, 0.51), (0.1, 0.1), 1.0, (0.0, 0.0), 0.1, 29)


def begun(costs, num_layers, **known):
    """A controller that drafts with exits."""
    return started(Auto(lookup=False), num_layers, costs=costs, **known)


def offered(tokens):
    """What lookup has at hand after a text."""
    panel = Panel([Lookup()])
    panel.begin(tokens)
    return panel.offer(chain=False)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("parts", PARTS)
def test_the_text_is_plain_decodings_with_any_of_its_parts(family, parts):
    model = random_model(FAMILIES[family], depth_gain=0.6)
    plain, _ = decode(model, PROMPT, max_new_tokens=40)
    mine, _ = decode(model, PROMPT, "auto", max_new_tokens=40, **parts)
    assert mine.new_tokens == plain.new_tokens
    assert any(r.drafted for r in mine.stats.rounds) == (
        parts["exits"] or parts["lookup"] or parts["table"]
    )


@pytest.mark.thinned(3)
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("seed", range(3))
def test_a_seeds_text_is_plain_decodings(parts, seed):
    model, rule = random_model(depth_gain=0.6), Sampling(0.9, top_k=8, seed=seed)
    plain, _ = decode(model, PROMPT, sampling=rule, max_new_tokens=30)
    mine, _ = decode(model, PROMPT, "auto", sampling=rule, max_new_tokens=30, **parts)
    assert mine.new_tokens == plain.new_tokens


def test_speculative_acceptance_takes_looked_up_tokens():
    model = always_agreeing(2)
    rule = Sampling(0.2, seed=1, acceptance="speculative")
    mine, _ = decode(model, PROMPT, "auto", sampling=rule, max_new_tokens=60, exits=False)
    assert mine.stats.accepted > 0


def test_exits_that_never_agree_are_given_up():
    mine, _ = decode(
        never_agreeing(), PROMPT, "auto:lookup=false,table=false", 140, costs=DEAR_DRAFTS
    )
    drafted = [r.drafted for r in mine.stats.rounds]
    assert max(drafted) > 1  # it was sure of them at first
    assert sum(drafted[-30:]) <= 30


def test_exits_that_a_sample_shows_to_be_useless_are_never_tried():
    lm = LanguageModel(never_agreeing())
    assert lm.sample.matched.shape == lm.sample.confidence.shape
    assert not lm.sample.matched.any()
    assert begun(DEAR_DRAFTS, lm.num_layers).plan().speculation_length > 0
    controller = begun(DEAR_DRAFTS, lm.num_layers, sample=lm.sample)
    assert controller.plan().speculation_length == 0


def test_a_layer_is_trusted_as_far_as_its_tokens_agree():
    matched = np.array([[True, False] * 30, [True] * 60])
    sample = ShadowTokens(matched, np.full((2, 60), 0.95, np.float32), (1, 2))
    known, unknown = ExitEstimates((1, 2, 3), sample), ExitEstimates((1, 2, 3))
    assert known.odds(2) == pytest.approx(unknown.odds(2), rel=0.2)
    assert known.odds(1)[-1] < 0.7 < known.odds(2)[-1]
    assert known.odds(1)[-1] < known.odds(3)[-1] < known.odds(2)[-1]  # as far as the others
    for _ in range(20):
        unknown.observe(1, [0.95], [False])
    low, bottom = unknown.odds(1)[-1], unknown.odds(1)[0]
    assert low < 0.3
    assert bottom < 0.3  # though no token of that confidence was seen
    assert low < unknown.odds(2)[-1] < known.odds(2)[-1]


def test_drafts_are_imagined_half_as_sure_as_those_of_a_sample():
    unsure = ShadowTokens(np.ones((1, 64), bool), np.full((1, 64), 0.05, np.float32), (1,))
    ends, usual = (ExitEstimates((1,), told).chances(1).ends for told in (unsure, None))
    assert usual[0] == pytest.approx(0.1)
    assert ends[0] == pytest.approx(0.5 * 1.0 + 0.5 * 0.1)


def test_exits_that_do_not_pay_by_a_sample_wait_for_the_text_to_speak_for_them():
    right = np.arange(64) % 16 == 0
    layers = tuple(range(1, 20))
    told = ShadowTokens(np.tile(right, (19, 1)), np.full((19, 64), 0.95), layers)
    controller = begun(DEAR_DRAFTS, 20, sample=told)
    assert controller.plan().speculation_length == 0
    number = 0
    while not (plan := controller.plan()).speculation_length:
        number, shadow = number + 1, None
        if plan.shadow:
            shape = len(plan.shadow), 1
            shadow = ShadowTokens(np.ones(shape, bool), np.full(shape, 0.95), plan.shadow)
        controller.observe(Round(plan, 0, 0, 1, shadow=shadow, verify_seconds=20.6))
    assert (
        number == TUNING.enough * controller._lesson
    )  # rounds, the last of each lesson's analysed


def test_exits_that_always_agree_are_used():
    mine, _ = decode(always_agreeing(1), PROMPT, "auto", max_new_tokens=120, lookup=False)
    assert mine.stats.mean_acceptance_length > 4


def test_rows_that_cost_as_much_as_passes_leave_plain_steps():
    dear = Costs((1, 2), (1.0, 2.0), (1.0, 2.0), (0.0, 0.0), 1.0, (0.0, 0.0), 0.0, 29)
    for costs, drafts in ((dear, False), (DEAR_DRAFTS, True)):
        controller = started(Auto(), 5, costs=costs)
        controller.consider(offered([7, 8] * 8))
        assert bool(controller.plan().speculation_length) == drafts


def test_rows_are_dearer_over_a_long_context():
    long_rows = replace(DEAR_DRAFTS, position=(0.0005, 0.001))  # at 4,000, as 2 layers and 4
    planned = []
    for context in (10, 4_000, 10):
        controller = started(Auto(), 20, costs=long_rows)
        controller.reach(context)
        controller.consider(offered([7, 8] * 8))
        planned.append(controller.plan().speculation_length)
    assert planned[0] == planned[2] > planned[1]


def test_prices_follow_the_context_from_lesson_to_lesson():
    long_rows = replace(DEAR_DRAFTS, position=(0.0005, 0.001))
    controller = begun(long_rows, 20)
    for context in range(10, 4_010, 40):
        controller.reach(context)
        before = controller._prices.plain()
        controller.observe(Round(controller.plan(), 0, 0, 1, verify_seconds=before))
    assert controller._prices._costs is long_rows.at(controller._context - 40 * 3)
    assert controller._prices._whole[1] > 2 * long_rows.verify(20)[1]


def test_in_company_drafts_must_pay_for_rows_that_are_no_longer_free():
    free_alone = Costs(
        (1, 4, 8), (1.0, 1.0, 2.0), (0.5, 0.5, 1.0), (0.1,) * 3, 0.2, (0.0,) * 3, 0.1, 29
    )
    controller = begun(free_alone, 8)
    lengths = []
    for batch_size in (1, 16, 1):
        controller.share(batch_size)
        pace = controller._prices.pace.rate
        lengths.append(controller.plan().speculation_length)
        assert pace * controller._prices.plain() == pytest.approx(
            TUNING.hope
        )  # it follows the costs
    assert lengths[0] == lengths[2] > 0 == lengths[1]


def test_others_do_not_wait_for_an_analysis():
    controller = begun(DEAR_DRAFTS, 8)
    analysed = []
    for batch_size in (1, 2):
        controller.share(batch_size)
        plans = []
        for _ in range(2 * controller._lesson):
            plans.append(controller.plan())
            controller.observe(Round(plans[-1], 0, 0, 1))
        analysed.append(sum(bool(plan.shadow) for plan in plans))
    assert analysed[0] > 0 == analysed[1]


def test_offers_are_judged_whether_used_or_not():
    controller = started(Auto(), 5, costs=CHEAP_DRAFTS)
    for _ in range(48):
        controller.consider(offer := offered(told := [7, 8, 9] * 2))
        plan = controller.plan()
        told.append(6)
        controller.observe(Round(plan, 0, 0, 1))
    assert controller._estimates.offers(offer.priors).odds[2] < 0.2


@pytest.mark.parametrize("keeps", [True, False])
def test_a_session_keeps_what_it_learned(keeps):
    lm = LanguageModel(always_agreeing(2))
    learner = lm.session().controller if keeps else make_controller("auto")
    started(learner, lm.num_layers)

    def seen():
        """Offers are judged whether used or not, however fast the machine is."""
        return sum(map(sum, learner._estimates.offers((Lookup.priors,))._seen))

    plain, usual = new_tokens(lm.model, PROMPT, max_new_tokens=160), seen()
    known = usual
    for _ in range(2):
        assert lm.generate(PROMPT, learner, max_new_tokens=160).token_ids == plain
        assert seen() > known
        known = seen() if keeps else usual
        started(learner, lm.num_layers)
        assert seen() == known


def exits_of(**known):
    """Exit layers of the first rounds of 20 layers, whose drafts are accepted."""
    controller, layers = started(Auto(lookup=False), 20, **known), []
    for _ in range(2 * TUNING.shallow):
        plan = controller.plan()
        layers.append(plan.exit_layer)
        drafted = min(plan.speculation_length, 1)
        draft = Draft([7] * drafted, [0.95] * drafted)
        did = {"draft": draft, "path": [1] * drafted, "verify_seconds": 20.0}
        controller.observe(Round(plan, drafted, drafted, 1 + drafted, **did))
    return layers


def test_first_drafts_are_shallow():
    assert exits_of(costs=CHEAP_DRAFTS) == [3] * TUNING.shallow + [5] * TUNING.shallow


def sample(depth, good_from):
    """Layers that are all as sure, and never right before one of them."""
    layers = tuple(range(1, depth))
    sure = np.full((len(layers), 64), 0.95, np.float32)
    right = np.array([[layer >= good_from] * 64 for layer in layers])
    return ShadowTokens(right, sure, layers)


@pytest.mark.parametrize("good_from", [1, 7, 20])
def test_an_exit_whose_sample_is_useless_gives_way_to_one_that_is_not(good_from):
    first, then = {1: (3, 5), 7: (7, 7), 20: (0, 0)}[good_from]
    expected = [first] * TUNING.shallow + [then] * TUNING.shallow
    assert exits_of(sample=sample(20, good_from)) == expected


def test_others_are_analysed_all_over_a_text():
    controller = begun(DEAR_DRAFTS, 20)
    analysed = []
    assert (controller._lesson, TUNING.lessons[1], TUNING.well) == (32, 64, 24)
    for number in range(320):
        plan = controller.plan()
        shadow = None
        if plan.shadow:
            analysed.append(number + 1)
            shape = len(plan.shadow), 4
            shadow = ShadowTokens(np.ones(shape, bool), np.ones(shape, np.float32), plan.shadow)
        controller.observe(Round(plan, 0, 0, 1, shadow=shadow))
    often = range(32, 193, 32)  # until each is well known
    assert analysed == [*often, 256, 320]


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0005, 64), (0.002, 64), (0.004, 32), (9, 32)])
def test_lessons_come_more_often_where_passes_take_longer(seconds, rounds):
    costs = Costs((1, 2), (seconds / 20,) * 2, (1e-9,) * 2, (0.0, 0.0), 0.0, (0.0, 0.0), 0.0, 29)
    controller, learned = started(Auto(lookup=False), 20, costs=costs), []
    for number in range(1, 129):
        controller.observe(Round(controller.plan(), 0, 0, 1, verify_seconds=seconds))
        if not controller._unread:
            learned.append(number)
    regular = range(rounds, 129, rounds)
    assert learned == sorted({4, 8, 16, 32, *regular})  # nothing was accepted


@pytest.mark.parametrize(("positions", "moves"), [(8, False), (400, True)])
def test_an_exit_that_is_a_little_better_must_have_been_seen_often(monkeypatch, positions, moves):
    controller = started(Auto(lookup=False), 20, costs=CHEAP_DRAFTS)
    kept, other = controller._layer, 7
    controller._estimates.exits.observe(other, [0.95] * positions, [True] * positions)
    worth = {kept: 1.0, other: 1.2}
    monkeypatch.setattr(
        controller,
        "_with_layer",
        lambda layer: Option(worth.get(layer, 0.0), True, Plan(exit_layer=layer)),
    )
    assert controller._best_exit(0.5).plan.exit_layer == (other if moves else kept)


def test_a_session_needs_a_method_that_learns():
    with pytest.raises(DynexitError, match="has no setting 'carry'"):
        LanguageModel(random_model()).session("layerskip")


def test_int8_drafts_need_the_native_runtime():
    with pytest.raises(DynexitError, match="native runtime"):
        new_tokens(random_model(), PROMPT, "auto:int8=true")
