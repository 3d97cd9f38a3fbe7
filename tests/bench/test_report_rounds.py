"""What rounds add up to, against numbers worked out by hand."""

import dataclasses

import pytest
from reporting import (
    LAYERS,
    SHAPE,
    all_records,
    drafted,
    fixed,
    plain,
    record,
    study_of,
    vanilla_records,
)

from dynexit.bench.report.rounds import Rounds, Rows, bounds, over_rounds, segments
from dynexit.bench.report.study import Generation
from dynexit.decoding.statistics import Statistics


def read(one):
    """A record as the report holds it."""
    return Generation.of(one, one.stats, {})


def columns(rounds):
    """Rounds as the report holds them."""
    return Rounds.read(Statistics(LAYERS, rounds).as_dict())


def test_rates_are_those_of_the_engine():
    rounds = [drafted(2, 4, 1, threshold=0.5), *plain(2), drafted(3, 2, 2, threshold=0.7)]
    ours, theirs = columns(rounds), Statistics(LAYERS, rounds)
    for name in ("etpl", "acceptance_rate", "mean_acceptance_length"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name))
    assert (ours.mean_exit_layer, ours.mean_drafted) == (2.5, 1.5)
    assert ours.mean_threshold == pytest.approx(0.6)


def test_rates_of_nothing_are_none():
    nothing = columns([])
    rates = ("etpl", "acceptance_rate", "mean_acceptance_length", "mean_exit_layer")
    more = ("mean_drafted", "mean_threshold", "tokens_per_second")
    assert all(getattr(nothing, name) is None for name in rates + more)


def test_flops_of_vanilla_are_all_layers_and_a_head_for_every_token():
    one = record("t", "1", "vanilla", plain(3), 1.0)
    assert read(one).flops == 2 * 3 * (4 * 10 + 100)
    assert read(dataclasses.replace(one, shape={})).flops is None


def test_flops_of_a_draft_count_rejected_rows_and_both_heads():
    rounds = [drafted(2, 3, 1), *plain(1)]
    layers, heads = 4 * 4 + 4, 3 + 4 + 1
    assert columns(rounds).rows(shadow=False) == Rows(layers, heads)
    one = record("t", "1", "layerskip", rounds, 1.0)
    assert read(one).flops == 2 * (10 * layers + 100 * heads)


def test_flops_of_del_hold_the_heads_of_its_shadow_tokens():
    rounds = [drafted(2, 3, 1), *plain(1)]
    shadow = 3 * (1 + 1) + 3 * (0 + 1)
    assert columns(rounds).rows(shadow=True) == Rows(20, 8 + shadow)
    one = record("t", "1", "del", rounds, 1.0)
    assert read(one).flops == 2 * (10 * 20 + 100 * (8 + shadow))


def test_flops_of_two_models_are_those_of_both():
    """The second model reads what it has not read, and each of its tokens but the last."""
    shape = {
        **SHAPE, "draft_num_layers": 2, "draft_layer_parameters": 3, "draft_head_parameters": 5
    }  # fmt: skip
    rounds = [drafted(0, 3, 1, drafter="second-model"), drafted(0, 2, 2, drafter="second-model")]
    rounds += [*plain(1), drafted(0, 2, 0, drafter="second-model")]
    rows = columns(rounds).rows(shadow=False)
    passed = (2 + 2) + (1 + 1) + (3 + 1)  # unread: two at first, one, then two and a plain step's
    assert rows == Rows(4 * (4 + 3 + 1 + 3), 4 + 3 + 1 + 3, passed, 3 + 2 + 2)
    one = record("t", "1", "two-model", rounds, 1.0, shape=shape)
    assert read(one).flops == 2 * (10 * 44 + 100 * 11 + 3 * 20 + 5 * 7)


def test_flops_of_a_diffusion_model_are_not_known():
    rounds = [drafted(0, 3, 1, drafter="diffusion"), *plain(1)]
    assert columns(rounds).second.tolist() == [True, False]
    assert read(record("t", "1", "diffuspec:d_max=25", rounds, 1.0, shape=SHAPE)).flops is None
    assert read(record("t", "1", "vanilla", plain(2), 1.0, shape=SHAPE)).flops is not None


def test_segments_are_quarters_by_a_round_s_first_token():
    """Tokens 1 to 8 after prefill's 0: rounds begin at 1, 4 and 7 of 9."""
    text = record("alpha", "a1", "del", fixed(1, 2), 0.8)
    texts = study_of([*vanilla_records(), text]).rounds_of_texts("del")
    assert [len(quarter) for quarter in segments(texts, 9)] == [1, 1, 0, 1]
    first, second, third, fourth = segments(texts, 9)
    assert [quarter.tokens.sum() for quarter in (first, second, fourth)] == [3, 3, 2]
    assert first.tokens_per_second == pytest.approx(3 / (0.8 / 3), rel=1e-4)
    assert fourth.etpl == pytest.approx(2 / (1 * 2 + 4))
    assert third.tokens_per_second is None
    assert third.etpl is None
    assert bounds(512) == [(1, 128), (129, 256), (257, 384), (385, 512)]
    assert bounds(9) == [(1, 3), (4, 5), (6, 7), (8, 9)]


def test_curves_over_rounds_are_means_while_half_of_the_texts_go_on():
    rounds = [drafted(2, 4, 1), drafted(3, 2, 2)]
    other = [drafted(1, 2, 2), *plain(1)]
    long = [*other, *plain(3)]
    records = [record("t", str(i), "del", r, 1.0) for i, r in enumerate((rounds, other, long))]
    vanilla = [dataclasses.replace(r, method="vanilla") for r in records]
    texts = study_of([*records, *vanilla]).rounds_of_texts("del")
    assert over_rounds(texts, lambda r: r.mean_exit_layer) == (
        [1.0, 2.0],
        [pytest.approx(4 / 3), 3.0],
    )
    assert over_rounds(texts, lambda r: r.acceptance_rate) == (
        [1.0, 2.0],
        [pytest.approx(5 / 8), 1.0],
    )
    assert over_rounds([], lambda r: r.mean_exit_layer) == ([], [])


def test_the_controller_s_share_is_of_the_round():
    parts = study_of(all_records()).rounds("del").phases
    assert parts.round == pytest.approx(1.2e3 / 6)
    assert parts.draft == pytest.approx(0.25 * 200)
    assert parts.shares.control == pytest.approx(0.05)
    assert columns([]).phases is None
