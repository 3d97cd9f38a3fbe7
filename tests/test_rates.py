"""Rates worked out by hand, and of nothing."""

from dynexit import rates


def test_rates_by_hand() -> None:
    assert rates.tokens_per_second(9, 3.0) == 3.0
    assert rates.speedup(300.0, 200.0) == 1.5
    assert rates.acceptance_rate(5, 8) == 5 / 8
    assert rates.mean_acceptance_length(5, 4) == 9 / 4
    # Rounds of (exit layer, drafted): (2, 4), (2, 3), a plain step and (6, 1), of 8 layers.
    assert rates.etpl(9, 2 * 4 + 2 * 3 + 6 * 1, 4, 8) == 9 / (16 + 14 + 8 + 14)


def test_rates_of_nothing_are_none() -> None:
    assert rates.tokens_per_second(0, 0.0) is None
    assert rates.acceptance_rate(0, 0) is None
    assert rates.mean_acceptance_length(0, 0) is None
    assert rates.etpl(0, 0, 0, 8) is None
    for own, plain in ((None, 2.0), (2.0, None), (0.0, 2.0), (2.0, 0.0)):
        assert rates.speedup(own, plain) is None
