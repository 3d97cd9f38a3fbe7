"""One statistic of speed: medians of runs in turn, whose ratio is the speedup."""

import re

import pytest

import dynexit
from dynexit.comparing import (
    REPEATS,
    median_speed,
    run_in_turn,
    shown_speed,
    shown_speedup,
)
from dynexit.decoding.plans import PLAIN_STEP
from dynexit.decoding.records import Round


def run_of(tokens: int, seconds: float) -> dynexit.Generation:
    rounds = [Round(PLAIN_STEP, 0, 0, tokens)]
    stats = dynexit.Statistics(2, rounds, prefill_seconds=9.0, decode_seconds=seconds)
    return dynexit.Generation("", [0] * tokens, stats, "length", 0)


def test_a_speed_is_the_median_of_decoding_alone_to_four_digits() -> None:
    runs = [run_of(100, 0.30), run_of(100, 0.01), run_of(100, 3.0)]
    assert median_speed(runs) == 333.3
    assert median_speed([run_of(1, 9.0)]) == 0.1111
    assert median_speed([run_of(0, 0.0)]) == 0.0
    assert [shown_speed(s) for s in (333.3, 0.1111, 12_350.0, 0.0)] == [
        *("333.3", "0.1111", "12350", "-")
    ]


def test_an_unknown_speedup_is_shown_as_such() -> None:
    assert (shown_speedup(1.5), shown_speedup(None)) == ("1.50x", "-")


def test_methods_run_in_turn_and_write_what_they_write_alone(checkpoint) -> None:
    lm, order = dynexit.load(checkpoint, check=False), []

    def watched(turns):
        order.extend(turns)
        return turns

    methods = {"vanilla": "vanilla", "mine": "layerskip"}
    outputs = run_in_turn(lm, "Hello", methods, watched, max_new_tokens=12)
    assert order == ["vanilla", "mine"] * REPEATS
    alone = lm.generate("Hello", "layerskip", max_new_tokens=12)
    assert [run.token_ids for run in outputs["mine"]] == [alone.token_ids] * REPEATS
    assert all(run.stats.drafted for run in outputs["mine"])
    assert len(outputs["vanilla"]) == REPEATS


@pytest.mark.parametrize("tokens", [24, 4])
def test_who_divides_the_speeds_of_a_comparison_gets_its_speedups(
    dynexit, checkpoint, tokens
) -> None:
    command = ("generate", "Hi", "-m", checkpoint, "-n", tokens, "--compare", "--method", "del")
    code, out, _ = dynexit(*command)
    rows = re.findall(r"│ (\S+) +│ +([\d.]+) │ +([\d.]+)x │", out)
    assert code == 0
    assert f"medians of {REPEATS} runs in turn" in out
    assert [row[0] for row in rows] == ["vanilla", "del"]
    for _, speed, ratio in rows:
        assert f"{float(speed) / float(rows[0][1]):.2f}" == ratio


def test_a_text_of_one_token_has_no_speed(dynexit, checkpoint) -> None:
    command = ("generate", "Hi", "-m", checkpoint, "-n", 1, "--compare", "--method", "del")
    code, out, _ = dynexit(*command)
    assert code == 0
    assert re.search(r"│ del +│ +- │ +- │", out)
