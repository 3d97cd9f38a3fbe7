"""Shadow tokens of real rounds against a teacher-forced pass over the finished text."""

import numpy as np
import pytest
from tiny import Fixed, always_agreeing, decode, layer_logits, random_model

from dynexit import Sampling
from dynexit.decoding import prefilling
from dynexit.decoding.controllers.del_ import Del
from dynexit.decoding.sampling import Sampler
from dynexit.methods import make_controller

LONG = [(5 * i + i * i) % 29 for i in range(40)]
SAMPLINGS = {
    "greedy": Sampling(),
    "penalty": Sampling(repetition_penalty=1.3),
    "sampled": Sampling(temperature=0.8, seed=4),
    "filtered": Sampling(temperature=1.2, top_k=7, top_p=0.9, repetition_penalty=1.2, seed=4),
}


class Watched(Del):
    """DEL as published, which keeps what it is shown."""

    def __init__(self, **settings):
        super().__init__(analysis="full", **settings)

    def start(self, facts):
        super().start(facts)
        self.prompt, self.rounds = None, []

    def observe_prompt(self, shadow):
        assert self.prompt is None
        self.prompt = shadow
        super().observe_prompt(shadow)

    def observe(self, finished):
        self.rounds.append(finished)
        super().observe(finished)


class WatchedFixed(Fixed):
    """A fixed exit that reads shadow tokens all the same."""

    reads_shadow = True

    def start(self, facts):
        super().start(facts)
        self.rounds = []

    def observe(self, finished):
        self.rounds.append(finished)


def by_brute_force(model, text, positions, rule, whole=None):
    """(matched, confidence) of layers 1..L-1 after text[: p + 1], each chosen on its own."""
    logits = layer_logits(model, text)
    matched, confidence = [], []
    for p in positions:
        sampler = Sampler(rule, whole or text[: p + 1])
        first = p + 1 - len(whole) if whole else 0
        picks = [sampler.choose(row[None], first=first, confident=True) for row in logits[:, p]]
        matched.append([pick.tokens == picks[-1].tokens for pick in picks[:-1]])
        confidence.append([pick.confidences[0] for pick in picks[:-1]])
    return np.array(matched).T, np.array(confidence).T


def joined(shadows):
    return [np.concatenate([getattr(s, k) for s in shadows], 1) for k in ("matched", "confidence")]


@pytest.mark.parametrize("rule", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("cap", ["threshold", "planned"])
def test_every_committed_position_counts_once_and_in_order(rule, cap):
    model, controller = random_model(depth_gain=0.7), Watched(cap=cap)
    sequence, _ = decode(model, LONG[:20], controller, max_new_tokens=25, sampling=rule)
    assert sequence.finish_reason == "length"
    assert [r.shadow.matched.shape[1] for r in controller.rounds] == [
        r.accepted + 1 for r in sequence.stats.rounds
    ]
    if cap == "threshold":  # otherwise the test would not see rejected drafts
        assert 0 < sequence.stats.accepted < sequence.stats.drafted
    matched, confidence = joined([r.shadow for r in controller.rounds])
    positions = range(20, len(sequence.tokens) - 1)  # inputs; the prompt's last one is prefill's
    expected, sure = by_brute_force(model, sequence.tokens, positions, rule)
    np.testing.assert_array_equal(matched, expected)
    np.testing.assert_allclose(confidence, sure, rtol=1e-5)
    assert 0.1 < matched.mean() < 0.95


@pytest.mark.parametrize("exit_layer", [1, 2, 3, 4])
@pytest.mark.parametrize("length", [0, 1, 4])
def test_at_every_exit_layer_and_length(exit_layer, length):
    model, controller = random_model(depth_gain=0.7), WatchedFixed(exit_layer, length)
    sequence, _ = decode(model, LONG[:6], controller, max_new_tokens=15)
    matched, confidence = joined([r.shadow for r in controller.rounds])
    positions = range(6, len(sequence.tokens) - 1)
    expected, sure = by_brute_force(model, sequence.tokens, positions, Sampling())
    np.testing.assert_array_equal(matched, expected)
    np.testing.assert_allclose(confidence, sure, rtol=1e-5)


@pytest.mark.parametrize("exit_layer", [1, 2, 3, 4])
def test_a_layers_own_drafts_match_as_often_as_they_were_accepted(exit_layer):
    model, controller = random_model(depth_gain=0.7), WatchedFixed(exit_layer, 3)
    decode(model, LONG[:6], controller, max_new_tokens=30)
    for finished in controller.rounds:
        row = finished.shadow.matched[exit_layer - 1][: finished.drafted]
        expected = [True] * finished.accepted + [False] * (finished.accepted < finished.drafted)
        assert row.tolist() == expected


@pytest.mark.parametrize("rows", [2048, 66])  # in one pass of prefill, or in two
@pytest.mark.parametrize("length", [2, 3, 20, 32, 33, 34, 40, 67])
def test_the_prompt_seeds_are_the_last_32_positions_before_the_last_token(
    length, rows, monkeypatch
):
    monkeypatch.setattr(prefilling, "PREFILL_ROWS", rows)
    model, prompt = random_model(depth_gain=0.7), (LONG * 2)[:length]
    controller = Watched()
    decode(model, prompt, controller, max_new_tokens=1)
    positions = range(max(length - 33, 0), length - 1)
    expected, sure = by_brute_force(model, prompt, positions, Sampling())
    np.testing.assert_array_equal(controller.prompt.matched, expected)
    np.testing.assert_allclose(controller.prompt.confidence, sure, rtol=1e-5)


def test_sampled_prompt_seeds_use_the_noise_of_their_own_positions():
    model, rule, prompt = random_model(depth_gain=0.7), SAMPLINGS["filtered"], LONG[:12]
    controller = Watched(prompt_positions=5)
    decode(model, prompt, controller, max_new_tokens=1, sampling=rule)
    expected, sure = by_brute_force(model, prompt, range(6, 11), rule, whole=prompt)
    np.testing.assert_array_equal(controller.prompt.matched, expected)
    np.testing.assert_allclose(controller.prompt.confidence, sure, rtol=1e-5)


@pytest.mark.parametrize("positions", [0, 1, 5])
def test_prompt_positions_is_a_setting(positions):
    model, controller = random_model(depth_gain=0.7), Watched(prompt_positions=positions)
    decode(model, LONG[:12], controller, max_new_tokens=3)
    seeds = 0 if controller.prompt is None else controller.prompt.matched.shape[1]
    assert seeds == positions


@pytest.mark.parametrize("acceptance", ["shared-noise", "speculative"])
def test_a_layer_that_says_what_the_target_says_always_matches(acceptance):
    rule = Sampling(temperature=1.5, seed=1, acceptance=acceptance)
    controller = Watched(exit_layer=4)
    sequence, _ = decode(always_agreeing(3), LONG, controller, max_new_tokens=30, sampling=rule)
    assert sequence.stats.acceptance_rate == 1.0
    assert controller.prompt.matched[2:].all()
    matched, _ = joined([r.shadow for r in controller.rounds])
    assert matched[2:].all()
    assert not matched[0].all()


def test_a_prompt_of_one_token_seeds_nothing():
    model, controller = random_model(depth_gain=0.7), Watched()
    sequence, _ = decode(model, [3], controller, max_new_tokens=5)
    assert controller.prompt is None
    assert sequence.stats.rounds[0].drafted == 0


def test_rounds_carry_shadow_tokens_only_where_they_are_read():
    model, controller = random_model(depth_gain=0.7), WatchedFixed(2, 3)
    controller.reads_shadow = False
    decode(model, LONG[:6], controller)
    assert all(r.shadow is None for r in controller.rounds)


def test_drafted_confidences_are_the_shadow_tokens_confidences():
    model, controller = random_model(depth_gain=0.7), Watched()
    decode(model, LONG, controller, max_new_tokens=30)
    told = 0
    for finished in controller.rounds:
        row = finished.shadow.confidence[finished.plan.exit_layer - 1]
        kept = min(len(finished.confidences), finished.accepted + 1)
        np.testing.assert_allclose(finished.confidences[:kept], row[:kept], rtol=1e-5)
        told += kept
    assert told > 5


@pytest.mark.parametrize("method", ["del:analysis=full", "del-e:analysis=full"])
def test_max_layer_bounds_what_is_analysed_and_chosen(method):
    model, seen = random_model(depth_gain=0.6), []
    controller = make_controller(method, max_layer=2)
    observe = controller.observe
    controller.observe = lambda finished: (seen.append(finished), observe(finished))
    sequence, _ = decode(model, [3, 1, 4, 1, 5], controller, 40)
    plain, _ = decode(model, [3, 1, 4, 1, 5], "vanilla", 40)
    assert sequence.new_tokens == plain.new_tokens
    assert {finished.shadow.matched.shape[0] for finished in seen} == {2}
    assert {finished.plan.exit_layer for finished in seen} <= {1, 2}
