"""Speedups, their intervals and what fixed pairs could have done, worked out by hand."""

import pytest
from reporting import all_records, fixed, grid_records, plain, record, study_of, vanilla_records

from dynexit.bench.report.speeds import Timing, interval


def test_a_speedup_is_a_micro_average():
    study = study_of(
        [
            record("t", "short", "vanilla", plain(10), 1.0),
            record("t", "long", "vanilla", plain(30), 6.0),
            record("t", "short", "del", fixed(2, 4, 10), 0.5),
            record("t", "long", "del", fixed(2, 4, 30), 2.0),
        ]
    )
    assert study.total("del").speedup == pytest.approx((7 / 40) / (2.5 / 40))  # not (2 + 3) / 2
    assert study.total("del").tokens_per_second == pytest.approx(40 / 2.5)
    assert study.total("vanilla").speedup == 1


def test_a_speedup_is_per_token_where_texts_differ_in_length():
    assert Timing(2.0, 10, 1.0, 20).speedup == pytest.approx(4.0)
    assert Timing().speedup is None
    assert Timing().tokens_per_second is None


SLOW, FAST = Timing(2.0, 10, 1.0, 10), Timing(3.0, 10, 1.0, 10)


def interval_of(*tasks):
    """Of so many tasks, each with these timings of its prompts."""
    return interval({(str(i), str(j)): t for i, own in enumerate(tasks) for j, t in enumerate(own)})


def test_the_interval_of_two_prompts_spans_from_one_to_the_other():
    """Drawn with replacement, the slower stands alone in a quarter of the resamples."""
    nothing = [[Timing()]] * 3
    assert interval_of([SLOW, FAST], *nothing) == pytest.approx((2.0, 3.0))
    assert interval_of([SLOW, FAST], *nothing) == interval_of([SLOW, FAST], *nothing)


def test_prompts_are_drawn_within_their_task():
    assert interval_of([SLOW], [FAST], [SLOW, SLOW], [FAST]) == pytest.approx((2.4, 2.4))


def test_few_prompts_have_no_interval():
    assert interval_of([SLOW, FAST], [SLOW, FAST]) is None
    assert interval_of([SLOW, FAST], [SLOW, FAST, SLOW]) is not None
    assert interval_of([Timing()] * 5) is None  # nor has what decoded nothing


def test_the_interval_narrows_with_more_prompts():
    prompts = [Timing(1 + 0.1 * (i % 5), 10, 1.0, 10) for i in range(200)]
    low, high = interval_of(prompts)
    wide_low, wide_high = interval_of(prompts[:10])
    assert wide_low < low < 1.2 < high < wide_high


def test_the_best_pairs_with_hindsight():
    study = study_of(all_records())
    grid = study.fixed_pairs
    assert grid.best_overall.pair() == (1, 1)
    assert grid.best_overall.speedup() == pytest.approx(3.2 / 1.5)
    assert grid.best_per_task.pair("alpha") == (1, 2)
    assert grid.best_per_task.pair("beta") == (2, 2)
    assert grid.best_per_task.pair() is None
    assert grid.best_per_task.speedup() == pytest.approx(3.2 / (0.2 + 0.7 + 0.4))
    assert list(grid.oracle.pairs.values()) == [(1, 2), (2, 1), (2, 2)]
    assert grid.oracle.speedup() == pytest.approx(3.2 / 1.0)
    assert grid.oracle.speedup("alpha") == pytest.approx(1.6 / 0.6)


def test_regret_is_what_is_missing_to_the_oracle():
    study = study_of(all_records())
    grid = study.fixed_pairs
    made = grid.method("del", study.timings("del"))
    assert grid.regret(made) == pytest.approx(1 - 1.0 / 1.2)
    assert grid.regret(grid.oracle) == 0
    assert grid.regret(grid.best_overall) == pytest.approx(1 - 1.0 / 1.5)


def test_a_grid_is_of_the_prompts_that_all_pairs_have_finished():
    lost = grid_records()[-1]  # (2, 2) on b1
    without = [r for r in all_records() if r.key != lost.key]
    study = study_of(without)
    assert study.fixed_pairs.prompts == [("alpha", "a1"), ("alpha", "a2")]
    unfinished = study_of([r for r in without if (r.method, r.example) != ("del", "a1")])
    assert unfinished.fixed_pairs.method("del", unfinished.timings("del")) is None
    assert not study_of(vanilla_records()).fixed_pairs
