"""Models whose exits never, always or sometimes agree: what a round does is known beforehand."""

import math

import pytest
import torch
from tiny import (
    ADAPTIVE,
    EXITING,
    Fixed,
    always_agreeing,
    decode,
    layer_logits,
    never_agreeing,
    scripted,
)

from dynexit import Sampling
from dynexit.model.probe import read_layers

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]
LENGTHS = (1, 3, 8)


def agreement(model, tokens):
    return read_layers(model, torch.tensor(tokens)).agreement


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("exit_layer", [3, 4, 5])
@pytest.mark.parametrize("count", [2, 24])
def test_a_draft_of_an_agreeing_exit_is_accepted_whole(exit_layer, length, count):
    model = always_agreeing(3)
    sequence, chunks = decode(model, PROMPT, Fixed(exit_layer, length), max_new_tokens=count)
    assert agreement(model, sequence.tokens)[2:] == [1.0] * 4
    stats = sequence.stats
    assert stats.accepted == stats.drafted
    assert len(stats.rounds) == math.ceil((count - 1) / (length + 1))
    assert all(r.drafted == length for r in stats.rounds[:-1])
    assert {c.source for c in chunks[1:]} <= {"accepted", "bonus", "target"}


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("acceptance", ["shared-noise", "speculative"])
def test_a_sampled_draft_of_an_agreeing_exit_is_accepted_whole(acceptance, penalty):
    rule = Sampling(1.0, top_k=9, repetition_penalty=penalty, seed=2, acceptance=acceptance)
    sequence, _ = decode(always_agreeing(3), PROMPT, Fixed(4, 5), 19, sampling=rule)
    assert [(r.drafted, r.accepted) for r in sequence.stats.rounds] == [(5, 5)] * 3
    assert len(set(sequence.new_tokens)) > 4


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("exit_layer", [1, 2, 4])
def test_a_draft_of_a_disagreeing_exit_yields_one_token_a_round(exit_layer, length):
    model = never_agreeing()
    sequence, chunks = decode(model, PROMPT, Fixed(exit_layer, length), max_new_tokens=16)
    assert agreement(model, sequence.tokens) == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert len(set(sequence.new_tokens)) > 1
    stats = sequence.stats
    assert stats.accepted == stats.acceptance_rate == 0
    assert stats.drafted >= len(stats.rounds) - 1
    assert [r.tokens for r in stats.rounds] == [1] * 15
    assert [c.source for c in chunks] == ["target"] + ["recovered"] * 14 + ["target"]


@pytest.mark.parametrize("method", EXITING)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_method_accepts_from_a_model_that_never_agrees(method, temperature):
    rule = Sampling(temperature=temperature, seed=1)
    model = never_agreeing()
    sequence, _ = decode(model, PROMPT, method, sampling=rule)
    plain, _ = decode(model, PROMPT, sampling=rule)
    assert sequence.stats.accepted == 0
    assert sequence.tokens == plain.tokens


def counting():
    """Writes 7, 8, 9 ... after 6. Its shallow exit is wrong about what follows 8, 11, 14 ..."""
    says = [(token + 1) % 30 for token in range(30)]
    drafts = [0 if token % 3 == 2 else following for token, following in enumerate(says)]
    return scripted(says, drafts)


@pytest.mark.parametrize(
    ("length", "accepted"),
    [
        (1, [1, 1, 0, 1, 0, 1]),  # 8 and 9; 10 and 11; 12 is recovered; 13 and 14; ...
        (2, [1, 2, 2, 2]),
        (3, [1, 2, 2, 2]),
        (8, [1, 2, 2, 2]),
    ],
)
def test_a_draft_is_accepted_up_to_its_first_wrong_token(length, accepted):
    sequence, _ = decode(counting(), [5, 6], Fixed(1, length), max_new_tokens=16)
    assert sequence.new_tokens == list(range(7, 23))
    rounds = sequence.stats.rounds
    assert [r.accepted for r in rounds][: len(accepted)] == accepted
    assert [r.drafted for r in rounds[:3]] == [length] * 3


def test_the_sources_tell_what_became_of_every_draft():
    _, chunks = decode(counting(), [5, 6], Fixed(1, 4), max_new_tokens=8)
    told = [(c.token_ids[0], c.source) for c in chunks]
    assert told == [
        (7, "target"),
        (8, "accepted"),
        (9, "recovered"),
        (10, "accepted"),
        (11, "accepted"),
        (12, "recovered"),
        (13, "accepted"),
        (14, "bonus"),
    ]


@pytest.mark.parametrize("agreeing", [2, 3, 5])
def test_del_goes_to_the_shallowest_layer_that_always_agrees(agreeing):
    model = always_agreeing(agreeing)
    prompt = [(5 * i + i * i) % 29 for i in range(40)]
    sequence, _ = decode(model, prompt, "del:analysis=full", max_new_tokens=40)
    seeded = layer_logits(model, prompt).argmax(-1)
    matches = (seeded == seeded[-1])[:, 7:-1].double().mean(1)
    assert max(matches[: agreeing - 1], default=0) < 0.6
    first = sequence.stats.rounds[0].plan
    assert (first.exit_layer, first.speculation_length) == (agreeing, 18)
    assert first.threshold is None  # nothing has ever mismatched there
    assert {r.plan.exit_layer for r in sequence.stats.rounds} == {agreeing}
    assert sequence.stats.acceptance_rate == 1.0
    assert [r.drafted for r in sequence.stats.rounds] == [18, 18, 0]


@pytest.mark.parametrize("method", ADAPTIVE)
def test_a_planned_length_is_a_plain_step_where_no_exit_agrees(method):
    sequence, _ = decode(never_agreeing(), PROMPT, method, cap="planned")
    assert sequence.stats.drafted == 0
    assert all(r.plan.speculation_length == 0 for r in sequence.stats.rounds)


def test_drafting_stops_after_the_first_token_below_the_threshold():
    model = always_agreeing(3)
    unsure = Fixed(3, 6, threshold=1.1)  # nothing is that sure: one token a round, and verified
    stopped, _ = decode(model, PROMPT, unsure, max_new_tokens=13)
    free, _ = decode(model, PROMPT, Fixed(3, 6, threshold=0.0), max_new_tokens=15)
    assert [r.drafted for r in stopped.stats.rounds] == [1] * 6
    assert [r.drafted for r in free.stats.rounds] == [6, 6]
    assert stopped.stats.accepted == 6
    assert free.tokens[: len(stopped.tokens)] == stopped.tokens


def test_the_threshold_is_compared_with_the_drafted_tokens_probability():
    model = always_agreeing(3)
    text = decode(model, PROMPT, max_new_tokens=20)[0].tokens
    sure = layer_logits(model, text)[2].softmax(-1).amax(-1).tolist()
    threshold = sorted(sure[len(PROMPT) :])[8]
    sequence, _ = decode(model, PROMPT, Fixed(3, 10, threshold), max_new_tokens=20)
    at = len(PROMPT)
    for finished in sequence.stats.rounds:
        for index, confidence in enumerate(finished.confidences):
            assert confidence == pytest.approx(sure[at + index])
            assert (confidence < threshold) <= (index == finished.drafted - 1)
        at += finished.tokens
    assert any(r.drafted < 10 for r in sequence.stats.rounds[:-1])
    assert any(r.drafted > 1 for r in sequence.stats.rounds)
