"""Drafts that see a window of the cache."""

from dataclasses import replace

import pytest
import torch
from numbers_in import finished, started
from tiny import CHEAP_DRAFTS, LLAMA, PROMPTS, Priced, decode, random_model

from dynexit import Controller, DynexitError, Plan
from dynexit.decoding.controllers.window import MOST, WindowController
from dynexit.decoding.costs import rough_costs
from dynexit.decoding.plans import PLAIN_STEP, Windowed
from dynexit.decoding.sequence import Decoding
from dynexit.methods import make_controller
from dynexit.model.graphs.host import attend
from dynexit.model.graphs.transformer import RecordedTransformer
from dynexit.model.interface import Span
from dynexit.model.native.transformer import NativeTransformer
from dynexit.model.windows import Window

DEPTH, LONG = LLAMA.num_layers, 1_300  # positions: three blocks of the library's
RUNTIMES = ["eager", "native"]
EDGES = [Window(1, 1), Window(4, 40), Window(33, 500), Window(700, 256), Window(4, LONG)]


def model_on(runtime, dtype=torch.float32):
    model = random_model(replace(LLAMA, max_positions=2 * LONG), depth_gain=0.7, dtype=dtype)
    return model if runtime == "eager" else NativeTransformer.packing(model, threads=2)


@torch.inference_mode()
def run(model, tokens, span, stop=DEPTH):
    return model.run_layers(model.embed(tokens), model.rows([span]), 0, stop)


def text_of(length, changed=()):
    return [(7 * i + (i in changed)) % 29 for i in range(length)]


# Passes


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("window", EDGES, ids=str)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_row_sees_the_window_and_nothing_else(runtime, window, rows):
    model = model_on(runtime)

    def last(changed, window):  # after one layer, whose keys depend on their own tokens alone
        cache, tokens = model.new_cache(), text_of(LONG, changed)
        run(model, tokens[:-rows], Span(cache, 0, LONG - rows), 1)
        span = Span(cache, LONG - rows, rows, window=window)
        return run(model, tokens[-rows:], span, 1)

    first = max(LONG - window.recent, 0)  # that the last row sees beside the sinks
    hidden = {*range(window.sinks, first - rows + 1)}
    plain, seen = last((), None), last((), window)
    assert torch.equal(last(hidden, window), seen)
    assert torch.equal(seen, plain) == (not hidden)
    if hidden:
        assert not torch.equal(last(hidden, None)[-1], plain[-1])
        assert not torch.equal(last({window.sinks - 1}, window)[-1], seen[-1])
        assert not torch.equal(last({first}, window)[-1], seen[-1])
        assert torch.equal(last({first - 1}, window)[-1], seen[-1])


@pytest.mark.parametrize("window", EDGES, ids=str)
def test_both_runtimes_see_the_same(window):
    found = []
    for runtime in RUNTIMES:
        model = model_on(runtime)
        cache, tokens = model.new_cache(), text_of(LONG)
        run(model, tokens[:-5], Span(cache, 0, LONG - 5))
        one = run(model, tokens[-5:-2], Span(cache, LONG - 5, 3, window=window))
        found.append(
            torch.cat((one, run(model, tokens[-2:-1], Span(cache, LONG - 2, 1, window=window))))
        )
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def test_the_library_refuses_what_is_no_window():
    model = model_on("native")
    cache = model.new_cache()
    for window in (Window(0, 3), Window(3, -1), Window(-3, 0)):
        with pytest.raises(DynexitError, match="a window needs a first and a recent position"):
            run(model, [1], Span(cache, 0, 1, window=window))
    with pytest.raises(DynexitError, match="for chains alone"):
        run(model, [1, 2, 3], Span(cache, 0, 3, [0, 0], 5, window=Window(1, 1)))


# Drafts


@pytest.mark.parametrize("settings", ["", ",exit_layer=3", ",threshold=0.05"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_draft_in_one_call_is_that_of_single_passes(runtime, settings, monkeypatch):
    model, texts = model_on(runtime), []
    method = f"window:sinks=2,recent=5,speculation_length=4{settings}"
    for alone in (True, False):
        monkeypatch.setattr(Decoding, "alone", alone)
        texts.append(decode(model, text_of(40), method, 24)[0])
    whole, apart = texts
    assert [r.drafted for r in whole.stats.rounds] == [r.drafted for r in apart.stats.rounds]
    assert [r.accepted for r in whole.stats.rounds] == [r.accepted for r in apart.stats.rounds]
    assert whole.tokens == apart.tokens == decode(model, text_of(40), "vanilla", 24)[0].tokens
    assert whole.stats.accepted


def test_a_window_that_hides_nothing_drafts_the_text_itself():
    model = model_on("native")
    method = "window:recent=4096,speculation_length=3"
    rounds = decode(model, PROMPTS[0], method, 21)[0].stats.rounds
    assert all(r.accepted == r.drafted for r in rounds)
    narrow = decode(model, text_of(200), "window:recent=1,sinks=1,speculation_length=3", 21)[0]
    assert any(r.accepted < r.drafted for r in narrow.stats.rounds)


def test_keys_and_values_are_the_targets_to_the_bit():
    model, kept = model_on("native"), []
    for method in ("vanilla", "window:sinks=1,recent=4,speculation_length=5"):
        sequence = decode(model, text_of(50), method, 40)[0]
        kept.append(torch.stack([sequence.cache.save(0), sequence.cache.save(1)]))
    assert torch.equal(*kept)


@pytest.mark.parametrize("method", ["window:recent=4,speculation_length=3", "window"])
def test_recorded_passes_draft_by_the_eager_model(method):
    model = RecordedTransformer(model_on("eager", torch.float64), lambda piece, _: piece, attend)
    plain, _ = decode(model, PROMPTS[0], "vanilla", 24)
    assert decode(model, PROMPTS[0], method, 24)[0].tokens == plain.tokens


class Opaque(Priced):
    skipping, runtime_name = None, "somebody's layers"


def test_a_model_that_sees_all_or_nothing_is_refused():
    with pytest.raises(DynexitError, match="by a window of the cache, which somebody's layers"):
        decode(Opaque(model_on("eager"), CHEAP_DRAFTS), PROMPTS[0], "window:speculation_length=2")


class Careless(Controller):
    drafters = ("windowed",)

    def __init__(self, planned):
        self.planned = planned

    def plan(self):
        return self.planned


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (Plan(2, 3, drafter="windowed"), r"without its settings: give Plan\(settings=Windowed"),
        (Plan(9, 3, drafter="windowed", settings=Windowed(Window(1, 1))), "this model has 5"),
    ],
)
def test_a_plan_that_is_not_for_this_model_is_refused(plan, sentence):
    with pytest.raises(DynexitError, match=sentence):
        decode(model_on("eager"), PROMPTS[0], Careless(plan))


# Lengths


def measured(costs, context, accepted=4, drafted=4, rounds=20, **settings):
    """What is planned after so many equal rounds."""
    controller = started(WindowController(**settings), 16, costs=costs)
    controller.reach(context)
    for _ in range(rounds):
        controller.observe(finished(drafted, accepted))
    return controller


def test_drafts_are_as_long_as_they_pay():
    # A layer is 1.0: 8 of it at 8,000 positions, and 5 of each further row.
    costs = replace(rough_costs(2.0, 2**16), position=(0.001, 0.0016))
    assert measured(costs, 300, 3, 4).plan() == PLAIN_STEP  # nothing to leave out
    long = measured(costs, 8_000).plan()
    assert (long.exit_layer, long.drafter) == (16, "windowed")
    assert 4 <= long.speculation_length <= MOST
    assert measured(costs, 8_000, 1, 4).plan().speculation_length < long.speculation_length
    assert measured(costs, 8_000, 0, 4).plan() == PLAIN_STEP
    dear = replace(costs, position=(0.001, 0.002))
    assert measured(dear, 8_000).plan().speculation_length < long.speculation_length
    shared = measured(costs, 2_000)
    shared.share(16)
    assert shared.plan().speculation_length >= measured(costs, 2_000).plan().speculation_length


def test_what_was_seen_fades_while_steps_are_plain():
    controller = measured(replace(rough_costs(2.0, 2**16), position=(0.001, 0.0016)), 8_000, 0, 4)
    for _ in range(200):
        controller.observe(finished(0, 0))
    assert controller.plan().speculation_length


def test_settings():
    plan = started(make_controller("window:sinks=8,recent=64,speculation_length=3"), 12).plan()
    assert plan.settings == Windowed(Window(8, 64))
    assert (plan.exit_layer, plan.speculation_length, plan.threshold) == (12, 3, None)
    with pytest.raises(DynexitError, match="exit layer 12 is not between 1 and 11"):
        started(make_controller("window:exit_layer=12"), 12)
    with pytest.raises(DynexitError, match="recent"):
        make_controller("window:recent=0")
