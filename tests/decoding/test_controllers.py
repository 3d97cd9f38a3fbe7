"""Controllers without a model: numbers in, a plan out. DEL has a file of its own."""

import math

import pytest
from numbers_in import finished, started

from dynexit import DynexitError, Plan
from dynexit.decoding.controllers import methods
from dynexit.decoding.controllers.del_ import Del
from dynexit.decoding.controllers.draft_verify import DraftVerify
from dynexit.decoding.controllers.finite_state import FiniteState
from dynexit.decoding.controllers.layerskip import LayerSkip
from dynexit.decoding.plans import PLAIN_STEP
from dynexit.methods import make_controller, settings_of

# Finite state


def test_finite_state_counts_up_and_down():
    controller = started(FiniteState(exit_layer=2, speculation_length=2))
    lengths = []
    for accepted in (2, 3, 3, 1, 2, 0, 0, 0, 0, 1):
        plan = controller.plan()
        lengths.append(plan.speculation_length)
        controller.observe(finished(plan.speculation_length, min(accepted, lengths[-1])))
    assert lengths == [2, 3, 4, 3, 2, 3, 2, 1, 0, 1]
    assert plan == Plan(2, 1, None)


def test_finite_state_returns_to_one_after_a_plain_step_and_anew_for_every_prompt():
    controller = started(FiniteState(speculation_length=0))
    assert controller.plan().speculation_length == 0
    controller.observe(finished())
    assert controller.plan().speculation_length == 1
    started(controller, 8)
    assert controller.plan().speculation_length == 0


# Draft & Verify


def recurrence(rounds, gamma=0.6, rate=None):
    """Gamma before each round and after the last, by METHOD's formulas."""
    gammas, drafted, accepted = [gamma], 0, 0
    for d, a in rounds:
        drafted, accepted = drafted + d, accepted + a
        share = accepted / drafted
        rate = share if rate is None else 0.5 * rate + 0.5 * share
        moved = gamma + 0.01 if rate < 0.8 else gamma - 0.01
        gamma = 0.9 * gamma + 0.1 * moved
        gammas.append(gamma)
    return gammas, rate


ROUNDS = [(18, 18), (4, 0), (3, 1), (2, 2), (18, 18), (6, 5)]


def test_draft_verify_moves_gamma_by_the_recurrence():
    controller = started(DraftVerify(exit_layer=3))
    gammas, _ = recurrence(ROUNDS)
    assert gammas[1:3] == pytest.approx([0.599, 0.598])  # 18/18, then (1 + 18/22) / 2 = .909
    for gamma, (drafted, accepted) in zip(gammas, ROUNDS, strict=False):
        assert controller.plan() == Plan(3, 18, pytest.approx(gamma))
        controller.observe(finished(drafted, accepted))
    assert controller.plan().threshold == pytest.approx(gammas[-1])


def test_draft_verify_by_hand():
    controller = started(DraftVerify(exit_layer=1))
    told = []
    for drafted, accepted in ((2, 1), (2, 2), (6, 6), (10, 10)):
        controller.observe(finished(drafted, accepted))
        told.append(controller.plan().threshold)
    # A: 1/2, 3/4, 9/10, 19/20; AR: .5, .625, .7625, .85625
    assert told == pytest.approx([0.601, 0.602, 0.603, 0.602])


def test_draft_verify_starts_anew_for_every_prompt():
    controller = started(DraftVerify())
    controller.observe(finished(4, 0))
    started(controller, 8)
    assert controller.plan().threshold == 0.6
    controller.observe(finished(4, 4))
    assert controller.plan().threshold == pytest.approx(0.599)


def test_draft_verify_carries_gamma_and_rate_over_but_not_the_counts():
    controller = started(DraftVerify(carry=True))
    for drafted, accepted in ROUNDS:
        controller.observe(finished(drafted, accepted))
    gammas, rate = recurrence(ROUNDS)
    started(controller, 8)
    assert controller.plan().threshold == pytest.approx(gammas[-1])
    gammas, _ = recurrence([(4, 0), (4, 1)], gammas[-1], rate)
    for gamma, (drafted, accepted) in zip(gammas[1:], [(4, 0), (4, 1)], strict=True):
        controller.observe(finished(drafted, accepted))
        assert controller.plan().threshold == pytest.approx(gamma)


def test_draft_verify_survives_rounds_that_draft_nothing():
    controller = started(DraftVerify())
    controller.observe(finished())
    assert controller.plan().threshold == 0.6


# LayerSkip and what all have in common


def test_layerskip_plans_the_same_every_round():
    controller = started(LayerSkip(exit_layer=3, speculation_length=5))
    for accepted in (5, 0, 2):
        assert controller.plan() == Plan(3, 5, None)
        controller.observe(finished(5, accepted))


def test_vanilla_never_drafts():
    assert started(make_controller("vanilla")).plan() == PLAIN_STEP


@pytest.mark.parametrize(("num_layers", "exit_layer"), [(2, 1), (3, 1), (16, 4), (32, 8)])
def test_the_exit_layer_is_a_quarter_of_the_depth_unless_set(num_layers, exit_layer):
    for name in ("layerskip", "finite-state", "draft-verify"):
        assert started(make_controller(name), num_layers).plan().exit_layer == exit_layer
    assert started(make_controller("early-exit"), num_layers).target_layer() == exit_layer


WITH_EXIT = [n for n, factory in methods().items() if "exit_layer" in settings_of(factory)]
WITH_LENGTH = [n for n in methods() if "speculation_length" in vars(make_controller(n))]


@pytest.mark.parametrize("exit_layer", [8, 9])
@pytest.mark.parametrize("method", WITH_EXIT)
def test_an_exit_layer_outside_the_model_is_refused(method, exit_layer):
    with pytest.raises(DynexitError, match=f"exit layer {exit_layer} is not between 1 and 7"):
        started(make_controller(method, exit_layer=exit_layer))


@pytest.mark.parametrize("method", WITH_EXIT)
def test_an_exit_layer_that_no_model_has_is_refused(method):
    for exit_layer in (0, -1, 10**5_000):
        with pytest.raises(DynexitError, match="must be a whole number from 1 to 1000"):
            make_controller(method, exit_layer=exit_layer)


@pytest.mark.parametrize("method", WITH_LENGTH)
@pytest.mark.parametrize("length", [-1, 65, 10**8])
def test_a_speculation_length_out_of_bounds_is_refused(method, length):
    with pytest.raises(DynexitError, match=f"speculation_length is {length}: .* from 0 to 64"):
        make_controller(method, speculation_length=length)


def numbers_of(method):
    """Names of a method's settings that are numbers."""
    fields = vars(make_controller(method)).items()
    return [name for name, value in fields if isinstance(value, float) and name[0] != "_"]


@pytest.mark.parametrize("method", list(methods()))
def test_what_is_no_number_or_infinite_is_refused(method):
    for name in numbers_of(method):
        for value in (math.nan, math.inf, -math.inf):
            with pytest.raises(DynexitError, match=f"{name} is {value}: it must be a number"):
                make_controller(method, **{name: value})


def test_bounds_hold_for_a_controller_that_was_made_in_python():
    for made, sentence in (
        (LayerSkip(speculation_length=10**8), "speculation_length is 100000000"),
        (Del(d_max=10**8), "d_max is 100000000: it must be a whole number from 1 to 64"),
        (DraftVerify(gamma=math.nan), "gamma is nan: it must be a number from 0 to 1"),
    ):
        with pytest.raises(DynexitError, match=sentence):
            make_controller(made)
    narrow = LayerSkip()
    narrow.draft_vocabulary = 0
    with pytest.raises(DynexitError, match="draft_vocabulary is 0"):
        make_controller(narrow)


def test_a_length_that_counts_up_ends_at_the_longest_draft():
    controller = started(FiniteState(speculation_length=63))
    lengths = []
    for _ in range(3):
        controller.observe(finished(9, 9))
        lengths.append(controller.plan().speculation_length)
    assert lengths == [64, 64, 64]


RUN_WITHOUT_EXITS = {
    *("vanilla", "two-model", "auto", "lookup", "table", "lookahead", "jacobi"),
    *("skip", "swift", "clasp", "diffuspec", "window"),
}


@pytest.mark.parametrize("method", [n for n in methods() if n not in RUN_WITHOUT_EXITS])
def test_a_model_of_one_layer_has_no_early_exit(method):
    with pytest.raises(DynexitError, match=r"one layer|min_layer"):
        started(make_controller(method), 1)


def test_starting_changes_no_setting():
    for name in methods():
        controller = make_controller(name)
        before = {k: v for k, v in vars(controller).items() if not k.startswith("_")}
        started(controller, 12)
        after = {k: v for k, v in vars(controller).items() if k in before}
        assert after == before, name
