"""Drafts by the whole model without some of its sublayers, and the searches for these."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from numbers_in import finished, started
from tiny import CHEAP_DRAFTS, LLAMA, PROMPTS, Priced, decode, random_model

from dynexit import Controller, DynexitError, Plan
from dynexit.decoding.controllers import swift
from dynexit.decoding.controllers.bayesian import propose
from dynexit.decoding.controllers.clasp import Clasp
from dynexit.decoding.controllers.skipping import Skip, spread
from dynexit.decoding.controllers.swift import Search, Swift
from dynexit.decoding.drafters.clasp_search import ClaspSearch
from dynexit.decoding.drafters.skipping import agreement_of
from dynexit.decoding.plans import PLAIN_STEP, Skipping
from dynexit.decoding.requests import drive
from dynexit.decoding.sequence import Decoding
from dynexit.methods import make_controller
from dynexit.model.graphs.host import attend
from dynexit.model.graphs.transformer import RecordedTransformer
from dynexit.model.interface import Span
from dynexit.model.native.transformer import NativeTransformer
from dynexit.model.skips import Skips

DEPTH = LLAMA.num_layers
SETS = [(2,), (3,), (0, 1), (2, 5, 6, 7), range(2 * DEPTH)]
RUNTIMES = ["eager", "native"]


def model_on(runtime, dtype=torch.float32, silent=()):
    """A model in which some sublayers add nothing."""
    model = random_model(depth_gain=0.7, dtype=dtype)
    for sublayer in silent:
        layer = model.layers[sublayer // 2]
        (layer.down if sublayer % 2 else layer.out).weight.zero_()
    return model if runtime == "eager" else NativeTransformer.packing(model, threads=2)


@torch.inference_mode()
def run(model, tokens, span, start=0, stop=DEPTH, skips=None):
    hidden, rows = model.embed(tokens), model.rows([span])
    return model.run_layers(hidden, rows, start, stop, None, None, skips)


def contents(cache):
    """All committed keys and values."""
    if hasattr(cache, "_keys"):
        stores = (*cache._keys, *cache._values)
        return torch.stack([store[:, : cache.length] for store in stores])
    assert cache.length >= 64
    return torch.stack([cache.save(0), cache.save(1)])


# Passes


def test_a_set_says_what_it_leaves_out():
    skips = Skips.of(4, (3, 4, 5))
    assert skips == bytes([0, 2, 3, 0])
    assert skips.sublayers == (3, 4, 5)
    assert (skips.whole, skips.kept_layers) == (1, 3)
    assert Skips.of(4, ()).whole == 4


@pytest.mark.parametrize("sublayers", SETS, ids=str)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_pass_without_sublayers_is_that_of_a_model_where_they_add_nothing(runtime, sublayers):
    model, silent = model_on(runtime), model_on(runtime, silent=sublayers)
    skips, tokens = Skips.of(DEPTH, sublayers), [3, 1, 4, 1, 5, 9]
    caches = model.new_cache(), silent.new_cache()
    for at, span in ((tokens, (0, 6)), (tokens[:1], (6, 1))):
        left = run(model, at, Span(caches[0], *span), skips=skips)
        assert torch.equal(left, run(silent, at, Span(caches[1], *span)))


@pytest.mark.parametrize("method", ["skip:mlp=2", "skip:attention=3,mlp=3+4", "skip:attention=1"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_draft_in_one_call_is_that_of_single_passes(runtime, method, monkeypatch):
    model, texts = model_on(runtime), []
    for alone in (True, False):
        monkeypatch.setattr(Decoding, "alone", alone)
        texts.append(decode(model, PROMPTS[2], f"{method},threshold=0.1", 12)[0])
    whole, apart = texts
    assert [r.drafted for r in whole.stats.rounds] == [r.drafted for r in apart.stats.rounds]
    assert whole.tokens == apart.tokens == decode(model, PROMPTS[2], "vanilla", 12)[0].tokens
    assert whole.stats.accepted


class Watched(Priced):
    """Notes which layers verification runs, for how many rows."""

    def verify(self, given, span, start, stop):
        self.seen.append((start, len(given)))
        return super().verify(given, span, start, stop)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_verification_begins_after_the_whole_layers(runtime):
    for named, whole in (({"mlp": 3}, 2), ({"attention": "2+4"}, 1), ({"mlp": 1}, 0)):
        model = Watched(model_on(runtime), CHEAP_DRAFTS)
        model.seen = []
        sequence, _ = decode(model, PROMPTS[0], Skip(threshold=0.0, **named), 8)
        drafted = [r.drafted for r in sequence.stats.rounds]
        assert model.seen == [(whole if d else 0, d + 1) for d in drafted]


# Searches


@pytest.fixture(params=RUNTIMES)
def text(request):
    """A text that is not over, long enough for two saved blocks."""
    model = model_on(request.param)
    sequence, _ = decode(model, [(7 * i) % 29 for i in range(50)], "vanilla", 30)
    return sequence


@torch.inference_mode()
def test_judging_a_set_changes_no_committed_key_or_value(text):
    skips, model, before = Skips.of(DEPTH, (2, 5, 6)), text.model, contents(text.cache)
    told = drive(model, agreement_of(text, model, skips, 16))
    assert torch.equal(contents(text.cache), before)
    # the same tokens as a text of their own, after what the target left before them
    other, stop = model.new_cache(), text.cache.length
    run(model, text.tokens[: stop - 16], Span(other, 0, stop - 16))
    span = Span(other, stop - 16, 16)
    left = run(model, text.tokens[stop - 16 : stop], span, skips=skips)
    chosen = model.unembed(left).argmax(-1).tolist()
    same = [a == b for a, b in zip(chosen, text.tokens[stop - 15 :], strict=True)]
    assert told == sum(same) / 16
    assert 0 < told < 1


@torch.inference_mode()
def test_a_search_changes_no_committed_key_or_value(text):
    before = contents(text.cache)
    for budget in (0.0, 0.3, 0.6, 1.0):
        found = drive(text.model, ClaspSearch().run(text, text.model, budget))
        assert len(found) == DEPTH
        assert (found.sublayers == ()) == (budget == 1.0)
    assert torch.equal(contents(text.cache), before)


@torch.inference_mode()
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_search_leaves_out_what_adds_nothing(runtime, monkeypatch):
    monkeypatch.setattr("dynexit.decoding.drafters.clasp_search._measured", lambda *_: (2, 2))
    idle = (1, 4, 7, 8)
    text, _ = decode(model_on(runtime, silent=idle), PROMPTS[0], "vanilla", 12)
    found = drive(text.model, ClaspSearch().run(text, text.model, 0.6))
    assert found.sublayers == idle


@torch.inference_mode()
def test_a_text_too_short_to_tell_tells_nothing():
    text, _ = decode(model_on("eager"), [7], "vanilla", 1)
    assert drive(text.model, agreement_of(text, text.model, Skips.of(DEPTH, (2,)), 32)) is None
    assert drive(text.model, ClaspSearch().run(text, text.model, 0.5)) is None


def test_swift_takes_the_better_set_as_soon_as_it_is_judged():
    model = random_model(replace(LLAMA, num_layers=8), depth_gain=0.8)
    sequence, _ = decode(model, PROMPTS[0], "swift:threshold=0.3", 30)
    rounds = sequence.stats.rounds
    scores = [r.agreement for r in rounds if r.agreement is not None]
    best = -1.0
    for one, after in pairwise(rounds):
        if one.agreement is None or after.plan is PLAIN_STEP:
            continue
        if one.agreement > best:
            best = one.agreement
            assert after.plan.settings.skips == one.plan.settings.trial
    assert best == max(scores) > min(scores)


def judged(controller, *agreements):
    for agreement in agreements:
        controller.observe(replace(finished(), agreement=agreement))
    return controller.plan().settings


def test_swifts_search_ends():
    assert judged(started(Swift()), 0.5, 0.89).trial is not None
    assert judged(started(Swift()), 0.5, 0.9).trial is None
    assert judged(started(Swift(patience=3)), 0.5, 0.4, 0.4).trial is not None
    assert judged(started(Swift(patience=3)), 0.5, 0.4, 0.4, 0.5).trial is None
    assert judged(started(Swift(steps=4)), 0.1, 0.2, 0.3, 0.4).trial is None


def test_swifts_search_goes_on_with_the_next_prompt_unless_told_otherwise():
    for carry in (True, False):
        controller = started(Swift(carry=carry), 12)
        kept = judged(controller, 0.1, 0.3, 0.2)
        assert (started(controller, 12).plan().settings == kept) == carry


def test_proposals_leave_the_first_and_the_last_layer_whole():
    search, sets = Search(10, 0.45), set()
    for _ in range(40):
        assert len(search.trial.sublayers) == 7  # of 16
        assert search.trial[0] == search.trial[-1] == 0
        sets.add(search.trial)
        search.judge(0.0)
    assert len(sets) > 30


def test_bayesian_proposals_find_what_matters():
    """Four sublayers matter, the others are alike."""
    found, draw, inner = [], random.Random(1), range(2, 22)
    for proposes in (True, False):
        tried = []
        for count in range(24):
            if proposes and count > 7:
                out = propose(tried, inner, draw)
            else:
                out = Skips.of(12, draw.sample(inner, 9))
            tried.append((out, 2 - len({5, 12, 13, 18} & {*out.sublayers}) / 2))
        found.append(sum(result for _, result in tried[-8:]))
    assert found[0] > found[1] + 4


def test_swift_asks_for_a_bayesian_proposal_every_so_often(monkeypatch):
    asked, out = [], spread(12, 0.4)
    monkeypatch.setattr(swift, "propose", lambda tried, *_: asked.append(len(tried)) or out)
    judged(started(Swift(bayesian=3), 12), *[0.1] * 7)
    judged(started(Swift(bayesian=0), 12), *[0.1] * 7)
    assert asked == [3, 6]


def test_clasp_searches_every_so_often():
    controller, found = started(Clasp(period=3)), Skips.of(8, (4, 5))
    searched = []
    for _ in range(7):
        skipping = controller.plan().settings
        searched.append(skipping.budget is not None)
        told = found if skipping.budget is not None else None
        controller.observe(replace(finished(3, 1), found=told))
    assert searched == [True, False, False, True, False, False, True]
    assert controller.plan().settings.skips == found


# Settings


def test_a_fixed_set_is_named_by_layers():
    controller = make_controller("skip:attention=3+5,mlp=4")
    assert started(controller).plan().settings.skips.sublayers == (4, 7, 8)
    assert started(make_controller("skip")).plan().settings.skips == spread(8, 0.45)
    assert started(make_controller("skip"), 2).plan() is PLAIN_STEP


@pytest.mark.parametrize("value", ["3,5", "3-5", "x", "+", "3++4", "-1", 1.5, True])
def test_what_names_no_layers_is_refused(value):
    with pytest.raises(DynexitError, match=r"attention is .*: it must be"):
        started(make_controller("skip", attention=value))


@pytest.mark.parametrize("value", [0, 9, "3+9"])
def test_a_layer_outside_the_model_is_refused(value):
    with pytest.raises(DynexitError, match=r"mlp names layer [09]: the layers .* are 1 to 8"):
        started(make_controller("skip", mlp=value))


def test_the_threshold_follows_the_acceptance_rate_if_asked_to():
    for adaptive in (False, True):
        controller = started(make_controller("skip", adaptive=adaptive))
        controller.observe(finished(10, 2))
        assert (controller.plan().threshold > 0.8) == adaptive


class Careless(Controller):
    drafters = ("skipping",)

    def __init__(self, skipping):
        self.planned = Plan(1, 3, drafter="skipping", settings=skipping)

    def plan(self):
        return self.planned


CARELESS = [
    (None, r"'skipping' without its settings: give Plan\(settings=Skipping"),
    (Skipping(Skips.of(4, (2,))), "leave out parts of another model: this one has 5 layers"),
]


@pytest.mark.parametrize(("skipping", "sentence"), CARELESS, ids=["none", "short"])
def test_a_set_that_is_not_for_this_model_is_refused(skipping, sentence):
    with pytest.raises(DynexitError, match=sentence):
        decode(model_on("eager"), PROMPTS[0], Careless(skipping))


# Other runtimes


class Opaque(Priced):
    skipping, runtime_name = None, "somebody's layers"


def test_a_model_whose_layers_cannot_be_taken_apart_is_refused():
    with pytest.raises(DynexitError, match="leaves out parts of layers, which somebody's layers"):
        decode(Opaque(model_on("eager"), CHEAP_DRAFTS), PROMPTS[0], "swift")


@pytest.mark.parametrize("method", ["skip:threshold=0.2", "swift:window=8,threshold=0.2", "clasp"])
def test_recorded_passes_draft_by_the_eager_model(method):
    model = RecordedTransformer(model_on("eager", torch.float64), lambda piece, _: piece, attend)
    plain, _ = decode(model, PROMPTS[0], "vanilla", 24)
    sequence, _ = decode(model, PROMPTS[0], method, 24)
    assert sequence.tokens == plain.tokens
    assert sequence.stats.accepted
