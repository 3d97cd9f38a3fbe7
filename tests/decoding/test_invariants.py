"""What always holds between a text, its chunks, its statistics and its cache."""

import json
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import DRAFTING, LLAMA, LOSSLESS, Fixed, decode, random_model

from dynexit import Sampling
from dynexit.bench.report.rounds import Rounds as RoundColumns
from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Round
from dynexit.decoding.statistics import Statistics

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]


@cache
def model_of(gain):
    return random_model(depth_gain=gain)


@settings(deadline=None, max_examples=40)
@given(
    method=st.sampled_from(LOSSLESS),
    gain=st.sampled_from([0.9, 0.6]),
    prompt=st.lists(st.integers(0, LLAMA.vocab_size - 1), min_size=2, max_size=9),
    count=st.integers(1, 20),
    eos=st.frozensets(st.integers(0, LLAMA.vocab_size - 1), max_size=3),
    temperature=st.sampled_from([0.0, 0.0, 1.0]),
    acceptance=st.sampled_from(["shared-noise", "speculative"]),
)
def test_text_chunks_and_statistics_agree(
    method, gain, prompt, count, eos, temperature, acceptance
):
    rule = Sampling(temperature=temperature, seed=3, acceptance=acceptance)
    sequence, chunks = decode(model_of(gain), prompt, method, count, eos, rule)
    stats, text = sequence.stats, sequence.new_tokens
    assert sequence.tokens[: len(prompt)] == prompt
    assert [i for chunk in chunks for i in chunk.token_ids] == text
    assert all(chunk.token_ids for chunk in chunks)
    assert sequence.cache.length == len(sequence.tokens) - 1
    assert not eos.intersection(text)
    if sequence.finish_reason == "length":
        assert len(text) == count
    else:
        assert sequence.finish_reason == "stop"
        assert len(text) < count
    assert stats.tokens == max(len(text) - 1, 0)
    assert sum(chunk.source == "accepted" for chunk in chunks) <= stats.accepted <= stats.drafted
    check(stats, LLAMA.num_layers)


def check(stats, num_layers):
    rounds = stats.rounds
    assert stats.drafted == sum(r.drafted for r in rounds)
    assert stats.accepted == sum(r.accepted for r in rounds)
    assert stats.tokens == sum(r.tokens for r in rounds)
    layers = 0
    for finished in rounds:
        assert 0 <= finished.accepted <= finished.depth <= finished.plan.speculation_length
        assert finished.tokens <= finished.accepted + 1
        assert finished.shadow is None
        layers += num_layers + finished.drafted * finished.plan.exit_layer
    whole = rounds[:-1]
    assert all(r.tokens == r.accepted + 1 for r in whole)
    if rounds:
        assert stats.etpl == pytest.approx(stats.tokens / layers)
        assert stats.mean_acceptance_length == pytest.approx(1 + stats.accepted / len(rounds))
        assert stats.acceptance_rate == pytest.approx(stats.accepted / max(stats.drafted, 1))
    told = json.loads(json.dumps(stats.as_dict()))
    assert told["tokens"] == stats.tokens
    assert {len(column) for column in told["round_records"].values()} == {len(rounds)}
    read = RoundColumns.read(told)  # the report's rates over many texts are these over one
    assert (read.etpl or 0.0) == pytest.approx(stats.etpl)
    assert (read.acceptance_rate or 0.0) == pytest.approx(stats.acceptance_rate)
    assert (read.mean_acceptance_length or 0.0) == pytest.approx(stats.mean_acceptance_length)


@pytest.mark.parametrize("method", LOSSLESS)
def test_max_new_tokens_is_exact(method):
    for count in (1, 2, 3, 7, 12):
        sequence, chunks = decode(model_of(0.6), PROMPT, method, count)
        assert len(sequence.new_tokens) == len(chunks) == count
        assert sequence.finish_reason == "length"
        assert sequence.stats.tokens == count - 1


@pytest.mark.parametrize("method", DRAFTING)
def test_a_round_never_drafts_more_than_the_text_has_room_for(method):
    sequence, _ = decode(model_of(0.6), PROMPT, method, 20)
    written = 1
    for finished in sequence.stats.rounds:
        assert written + finished.depth + 1 <= 20
        written += finished.tokens


def test_rates_of_nothing_are_zero():
    stats = Statistics(8)
    rates = (stats.acceptance_rate, stats.mean_acceptance_length, stats.etpl)
    assert rates == (0.0, 0.0, 0.0)
    assert (stats.tokens_per_second, stats.acceptance_by_position) == (0.0, [])
    json.dumps(stats.as_dict())


def test_rates_by_hand():
    stats = Statistics(8)
    stats.rounds = [
        Round(Plan(2, 4), drafted=4, accepted=4, tokens=5),
        Round(Plan(2, 4), drafted=3, accepted=1, tokens=2),
        Round(Plan(), drafted=0, accepted=0, tokens=1),
        Round(Plan(6, 1), drafted=1, accepted=0, tokens=1),
    ]
    stats.decode_seconds = 3.0
    assert (stats.drafted, stats.accepted, stats.tokens) == (8, 5, 9)
    assert stats.acceptance_rate == 5 / 8
    assert stats.mean_acceptance_length == 9 / 4
    assert stats.etpl == 9 / ((2 * 4 + 8) + (2 * 3 + 8) + 8 + (6 * 1 + 8))
    assert stats.tokens_per_second == 3.0
    assert stats.acceptance_by_position == [2 / 3, 1 / 2, 1 / 2, 1.0]


def test_the_exit_layer_of_a_plain_step_is_not_told():
    sequence, _ = decode(model_of(0.6), PROMPT, Fixed(3, 0), 3)
    assert sequence.stats.as_dict()["round_records"]["exit_layer"] == [None, None]
