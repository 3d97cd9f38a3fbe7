"""The numbers that stand in a report's tables."""

import dataclasses

import pytest
from reporting import (
    del_records,
    drafted,
    plain,
    record,
    row_of,
    tables,
    text_of,
    vanilla_records,
)


@pytest.fixture(scope="module")
def found(whole):
    """Its tables."""
    return tables((whole / "report.md").read_text())


def test_the_table_of_speedups(found):
    (table,) = found["Speed"]
    assert [row[0] for row in table[2:]] == ["`vanilla`", "`del`"]
    assert row_of(table, "del") == {
        "method": "`del`",
        "alpha": "2.00x (0.471)",  # 8 tokens of 2 * 3 + 4 and 1 * 3 + 4 layers
        "beta": "4.00x (0.471)",
        "eTPL": "0.4706",
        "tok/s": "20.0",
        "speedup [95 %]": "2.67x",
    }
    assert row_of(table, "vanilla")["alpha"] == "1.00x (0.250)"
    assert row_of(table, "vanilla")["tok/s"] == "7.5"
    assert row_of(table, "vanilla")["speedup [95 %]"] == "1.00x"


def test_the_table_of_ablations():
    planned = del_records("del:cap=planned", token_ids=[7] * 9)
    text = text_of([*vanilla_records(), *del_records(), *planned])
    (table,) = tables(text)["Exit layers and drafts"]
    assert [row[0] for row in table[2:]] == ["`del`", "`del:cap=planned`"]
    assert row_of(table, "del") == {
        "method": "`del`",
        "speedup [95 %]": "2.67x",
        "eTPL": "0.4706",
        "acceptance rate": "100.0 %",
        "tokens per round": "4.00",
        "mean exit layer": "1.5",
        "drafted per round": "3.00",
    }


def test_methods_on_fewer_prompts_are_told():
    records = [*vanilla_records(), *del_records()[:2]]
    (table,) = tables(text_of(records))["Speed"]
    assert [row[-1] for row in table] == ["prompts", "---:", "3", "2"]
    assert row_of(table, "del")["beta"] == "-"


def test_texts_that_differ_are_counted_and_named():
    records = [*vanilla_records(), *del_records()]
    records[-1] = dataclasses.replace(records[-1], token_ids=[5] * 9)
    lossy = record("alpha", "a1", "early-exit:exit_layer=2", plain(8), 0.2, token_ids=[9])
    text = text_of([*records, lossy])
    (table,) = tables(text)["The same texts"]
    assert row_of(table, "del")["identical to vanilla"] == "2/3"
    assert row_of(table, "del")["differing examples"] == "`beta b1`"
    assert table[3][0] == "`early-exit:exit_layer=2` (lossy by design)"
    assert table[3][1:] == ["`alpha a1`", "0/1"]
    assert "2 of 3 texts are vanilla's" in text


def test_identical_texts_are_counted_over_the_grid_as_well(found):
    (table,) = found["The same texts"]
    assert row_of(table, "del")["identical to vanilla"] == "3/3"
    assert row_of(table, "4 fixed pairs of the grid")["identical to vanilla"] == "12/12"


def test_repetition_is_told_task_by_task():
    looping = [dataclasses.replace(r, token_ids=[1, 2] * 4) for r in vanilla_records()]
    looping[-1] = dataclasses.replace(looping[-1], token_ids=list(range(8)))
    text = text_of(looping)
    assert "4-grams, so many stood earlier in their text: `alpha` 60 %." in text  # 3 of 5
    assert "4-grams" not in text_of(vanilla_records())


def test_scores_stand_beside_speed():
    scored = [dataclasses.replace(r, scores={"exact_match": 0.5}) for r in vanilla_records()]
    scored[1].scores["exact_match"] = 1.0
    text = text_of([*scored, *del_records()])
    _, table = tables(text)["The same texts"]
    assert table[0] == ["method", "`alpha` exact_match", "`beta` exact_match"]
    assert table[2:] == [["`vanilla`", "0.750", "0.500"], ["`del`", "-", "-"]]


def test_the_table_of_time_and_memory(found):
    (table,) = found["Time and memory"]
    assert row_of(table, "del") == {
        "method": "`del`",
        "draft, ms": "50.00",
        "verify, ms": "130.00",
        "controller, ms": "10.00",
        "text, ms": "10.00",
        "round, ms": "200.00",
        "controller's share": "5.0 %",
        "prefill, ms (median)": "50.0",
        "peak memory": "3.00 MB",
    }


def test_the_table_of_hindsight(found):
    table, pairs = found["Fixed pairs and the oracle"]
    assert [row[1:] for row in table[2:]] == [
        ["1.60x (1-1)", "3.20x (1-1)", "2.13x (1-1)", "33.3 %"],
        ["1.78x (1-2)", "4.00x (2-2)", "2.46x", "23.1 %"],
        ["2.67x", "4.00x (2-2)", "3.20x", "0.0 %"],
        ["**2.00x**", "**4.00x**", "**2.67x**", "**16.7 %**"],
    ]
    assert pairs[2:] == [["1", "**2.13x**", "1.88x"], ["2", "1.60x", "1.60x"]]


def test_the_table_of_costs_per_input(found):
    (table,) = found["Cost per input"]
    assert row_of(table, "del") == {
        "method": "`del`",
        "parameters": "200",
        "draft layers": "1.5",
        "FLOPs per input": "8.24k",  # 2 rounds of 2 * (16 * 10 + (7 + 12) * 100)
        "plain FLOPs": "2.24k",
        "s per input": "0.400",
        "plain s": "1.067",
        "efficiency": "2.67x",
    }


def test_two_models_are_told_by_what_they_hold_and_draft():
    shape = {"draft_num_layers": 2, "draft_layer_parameters": 3, "draft_head_parameters": 5}
    shape |= {**vanilla_records()[0].shape, "draft_parameters": 100}
    rounds = [drafted(0, 3, 3, drafter="second-model")] * 2
    two = record("alpha", "a1", "two-model", rounds, 0.4, shape=shape)
    text = text_of([*vanilla_records(), two])
    row = row_of(tables(text)["Cost per input"][0], "two-model")
    assert (row["parameters"], row["draft layers"]) == ("300", "2 of its own")
    rows = 2 * (4 * 4) * 10 + 2 * 4 * 100 + (4 + 4) * 2 * 3 + 2 * 3 * 5
    assert row["FLOPs per input"] == f"{2 * rows / 1e3:.2f}k"


def test_what_was_left_out_is_said(whole):
    text = (whole / "report.md").read_text()
    assert "1 record of failures" in text
    assert "1 record without a vanilla record" in text
    (table,) = tables(text)["Left out"]
    assert table[2] == [
        "`tiny`", "`alpha a3`", "`del`", r"`DynexitError: <b>5,000 \| 9</b> tokens`"
    ]  # fmt: skip
    page = (whole / "report.html").read_text()
    assert "&lt;b&gt;5,000 | 9&lt;/b&gt; tokens" in page
