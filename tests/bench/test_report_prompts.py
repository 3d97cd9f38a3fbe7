"""Methods compared prompt by prompt, against medians worked out by hand."""

import dataclasses

import pytest
from reporting import (
    DEL,
    PROMPTS,
    VANILLA,
    all_records,
    del_records,
    drafted,
    plain,
    record,
    row_of,
    tables,
    text_of,
    vanilla_records,
)

from dynexit.bench.report.speeds import median_interval

NAME = "Prompt by prompt"


def found(records):
    return tables(text_of(records))[NAME]


def auto_records():
    """Twice as fast as DEL on the second prompt, else the same."""
    rounds = [drafted(2, 3, 3), drafted(1, 3, 3)]
    seconds = {**DEL, "a2": DEL["a2"] / 2}
    return [record(task, e, "auto", rounds, seconds[e]) for task, e in PROMPTS]


def test_speeds_are_medians_over_prompts():
    (table,) = found([*vanilla_records(), *del_records()])
    assert row_of(table, "del") == {
        "method": "`del`",
        "alpha": "2.00x",
        "beta": "4.00x",
        "all [95 %]": "2.00x",  # of 2, 2 and 4; all seconds together make 2.67
        "not repeating (3 prompts)": "2.00x",
    }


def test_auto_is_compared_with_the_others():
    speeds, against = found([*vanilla_records(), *del_records(), *auto_records()])
    assert row_of(speeds, "auto")["alpha"] == "3.00x"
    assert [row[0] for row in against[2:]] == ["`del`"]
    assert row_of(against, "del") == {
        "against": "`del`",
        "alpha": "1.50x",  # between 1 and 2
        "beta": "1.00x",
        "all [95 %]": "1.00x",
    }


def test_the_best_fixed_pair_is_that_of_each_task():
    _, against = found(all_records())
    assert row_of(against, "best fixed pair") == {
        "against": "best fixed pair",
        "alpha": "1.12x (1-2)",  # DEL makes 0.5 and 1.75 times its speed
        "beta": "1.00x (2-2)",
        "all [95 %]": "1.75x (1-2)",
    }


def test_no_pair_is_named_for_a_task_that_none_ran_on():
    other = [dataclasses.replace(r, task="gamma") for r in [*vanilla_records(), *del_records()]]
    _, against = found([*all_records(), *other])
    assert row_of(against, "best fixed pair")["gamma"] == "-"


def test_texts_that_go_in_circles_are_left_out_of_the_last_column():
    ids = [7] * 9
    circling = [
        record("beta", "b1", "vanilla", plain(8), VANILLA["b1"], token_ids=ids),
        record("beta", "b1", "del", [drafted(2, 3, 3), drafted(1, 3, 3)], 0.4, token_ids=ids),
    ]
    (table,) = found([*vanilla_records()[:2], *del_records()[:2], *circling])
    row = row_of(table, "del")
    assert (row["all [95 %]"], row["not repeating (2 prompts)"]) == ("2.00x", "2.00x")
    (table,) = found(circling)
    assert row_of(table, "del")["not repeating (0 prompts)"] == "-"


def test_a_file_of_vanilla_alone_has_nothing_to_compare():
    assert NAME not in tables(text_of(vanilla_records()))


def test_the_interval_of_a_median_holds_it_and_narrows():
    few, many = [1.0, 1.1, 1.2, 1.3, 1.4], [1.0 + i / 1_000 for i in range(401)]
    assert median_interval(few[:4]) is None
    low, high = median_interval(few)
    assert low <= 1.2 <= high
    narrow = median_interval(many)
    assert narrow == pytest.approx((1.2, 1.2), abs=0.05)
    assert narrow[1] - narrow[0] < high - low
