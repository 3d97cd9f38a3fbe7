"""Bold is for the best of a column, whatever its name is."""

import re

import pytest
from reporting import (
    PROMPTS,
    all_records,
    del_records,
    drafted,
    plain,
    record,
    tables,
    text_of,
    vanilla_records,
)

from dynexit.bench.report.wording import Cell, best_in_bold


def timed(method, seconds, tokens=8):
    """The same seconds on every prompt, in rounds of four tokens."""
    rounds = [drafted(2, 3, 3)] * (tokens // 4)
    return [record(task, example, method, rounds, seconds) for task, example in PROMPTS]


def bold_rows(records, section):
    """{method: headings of its bold cells} of a section's first table."""
    table = tables(text_of(records))[section][0]
    return {
        row[0].strip("`"): [h for h, cell in zip(table[0], row, strict=True) if "**" in cell]
        for row in table[2:]
    }


SPEEDS = ["`alpha`", "`beta`", "tok/s", "speedup [95 %]"]


def test_the_fastest_method_is_bold_and_no_other():
    records = [*vanilla_records(), *del_records(), *timed("finite-state", 0.2)]
    assert bold_rows(records, "Speed") == {
        "vanilla": [],
        "finite-state": SPEEDS,
        "del": ["eTPL"],  # by its rounds of exit layer 1
    }
    medians = ["`alpha`", "`beta`", "all [95 %]", "not repeating (3 prompts)"]
    assert bold_rows(records, "Prompt by prompt") == {"finite-state": medians, "del": []}
    assert "- `finite-state` decodes at **5.33x** the speed" in text_of(records)
    assert "- `del` decodes at 2.67x the speed" in text_of(records)


def test_what_is_slower_than_vanilla_is_never_bold():
    records = [*vanilla_records(), *timed("del", 2.0)]
    assert bold_rows(records, "Speed") == {"vanilla": [], "del": ["eTPL"]}
    assert bold_rows(records, "Prompt by prompt") == {"del": []}
    assert "**" not in text_of(records).partition("## Speed")[0]


def test_equals_are_bold_together():
    rows = bold_rows([*vanilla_records(), *timed("auto", 0.4), *timed("mine", 0.4)], "Speed")
    assert rows["auto"] == rows["mine"] == ["`alpha`", "`beta`", "eTPL", "tok/s", "speedup [95 %]"]


def test_a_text_of_another_model_wins_nothing():
    lossy = [record(task, e, "early-exit:exit_layer=2", plain(8), 0.1) for task, e in PROMPTS]
    rows = bold_rows([*vanilla_records(), *del_records(), *lossy], "Speed")
    assert rows["early-exit:exit_layer=2"] == []
    assert rows["del"] == ["`alpha`", "`beta`", "eTPL", "tok/s", "speedup [95 %]"]


def test_hindsight_is_no_method():
    rows = bold_rows([*all_records(), *timed("auto", 0.3)], "Fixed pairs and the oracle")
    assert {name for name, found in rows.items() if found} == {"auto"}


def test_the_fastest_by_the_median_is_held_against_the_others():
    text = text_of([*vanilla_records(), *del_records(), *timed("mine", 0.2)])
    assert "The speed of `mine`, the fastest by the median, over each method's" in text
    assert [row[0] for row in tables(text)["Prompt by prompt"][1][2:]] == ["`del`"]


@pytest.mark.parametrize(
    ("values", "bold"), [((1.0, 3.0, 2.0), [1]), ((None, None), []), ((2.0, None, 2.0), [0, 2])]
)
def test_the_highest_values_of_a_column(values, bold):
    rows = best_in_bold([Cell("name"), Cell("x", value)] for value in values)
    assert [i for i, row in enumerate(rows) if re.fullmatch(r"\*\*x\*\*", row[1])] == bold
    assert best_in_bold([]) == []
