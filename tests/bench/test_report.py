"""Reports as they are written: the numbers that stand in them, and what a folder holds."""

import base64
import dataclasses
import itertools
import re

import pytest
from reporting import (
    all_records,
    del_records,
    drafted,
    fixed,
    plain,
    record,
    two_models,
    vanilla_records,
    write,
)

from dynexit import DynexitError
from dynexit.bench.records import Record
from dynexit.bench.report import writing
from dynexit.bench.report.figures import figures
from dynexit.bench.report.figures.base import draw_all
from dynexit.bench.report.figures.heatmap import ETPL, SPEED, heat_values
from dynexit.bench.report.figures.style import COLOURS, colours, spread
from dynexit.bench.report.gathering import gather
from dynexit.bench.report.sections import SECTIONS
from dynexit.bench.report.writing import write_report

ELSEWHERE = re.compile(r"""(?:src|href)=["'](?!data:)|@import|<script|url\(\s*["']?http""")


def tables(markdown):
    """{heading: its tables}, each a list of rows of cells."""
    found = {}
    for part in re.split(r"^## ", markdown, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        blocks = [block for block in text.strip().split("\n\n") if block.startswith("|")]
        found[heading] = [
            [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()] for block in blocks
        ]
    return {
        heading: [[[cell.strip() for cell in row] for row in one] for one in several]
        for heading, several in found.items()
    }


def row_of(table, name):
    """{heading: cell} of the row that begins with `name`."""
    (row,) = [row for row in table if row[0].strip("`") == name]
    return {
        heading.strip("`"): cell.strip("*") for heading, cell in zip(table[0], row, strict=True)
    }


@pytest.fixture
def report(tmp_path):
    """Write a report of records; gives the folder."""

    def made(records):
        return write_report([write(tmp_path / "run.jsonl", records)], tmp_path / "out").folder

    return made


def text_of(records):
    """The markdown, without any figure."""
    return writing.markdown_of(gather(records), [], [])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The report of everything, read only: its folder."""
    folder = tmp_path_factory.mktemp("report")
    records = [
        *all_records(),
        Record("tiny", "alpha", "a3", "del", error="DynexitError: <b>5,000 | 9</b>\ntokens"),
        record("alpha", "a4", "del", fixed(2, 3), 1.0),
    ]
    return write_report([write(folder / "run.jsonl", records)], folder / "out").folder


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
        "speedup [95 %]": "2.67x [2.67, 2.67]",
    }
    assert row_of(table, "vanilla")["alpha"] == "1.00x (0.250)"
    assert row_of(table, "vanilla")["tok/s"] == "7.5"
    assert row_of(table, "vanilla")["speedup [95 %]"] == "1.00x"


def test_the_table_of_ablations():
    planned = del_records("del:cap=planned", token_ids=[7] * 9)
    text = text_of([*vanilla_records(), *del_records(), *planned])
    (table,) = tables(text)["DEL and its ablations"]
    assert [row[0] for row in table[2:]] == ["`del`", "`del:cap=planned`"]
    assert row_of(table, "del") == {
        "method": "`del`",
        "speedup [95 %]": "2.67x [2.67, 2.67]",
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
    assert table[3][1:] == ["`alpha a1`", "**0/1**"]
    assert "**2 of 3** texts are vanilla's" in text


def test_identical_texts_are_counted_over_the_grid_as_well(found):
    (table,) = found["The same texts"]
    assert row_of(table, "del")["identical to vanilla"] == "3/3"
    assert row_of(table, "4 fixed pairs of the grid")["identical to vanilla"] == "12/12"


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
        "verify, ms": "140.00",
        "controller, ms": "10.00",
        "round, ms": "200.00",
        "controller's share": "5.0 %",
        "prefill, ms (median)": "50.0",
        "peak memory": "3.00 MB",
    }


def test_the_table_of_hindsight(found):
    table, pairs = found["Fixed pairs and the oracle"]
    assert [row[1:] for row in table[2:]] == [
        ["1.60x (1-1)", "3.20x (1-1)", "2.13x [2.13, 2.13] (1-1)", "**33.3 %**"],
        ["1.78x (1-2)", "4.00x (2-2)", "2.46x [1.78, 4.00]", "**23.1 %**"],
        ["2.67x", "4.00x (2-2)", "3.20x [2.67, 4.00]", "**0.0 %**"],
        ["2.00x", "4.00x", "2.67x [2.67, 2.67]", "**16.7 %**"],
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


def test_the_page_needs_nothing_but_itself(whole):
    page = (whole / "report.html").read_text()
    assert not ELSEWHERE.search(page)
    images = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert len(images) == len(list((whole / "figures").glob("*.svg"))) == len(figures())
    assert all(base64.b64decode(image).startswith(b"<?xml") for image in images)
    assert not re.search(r'(?:href|src)="http', page)


def test_every_figure_of_the_report_is_there(whole):
    shown = re.findall(r"\]\((figures/[^)]+)\)", (whole / "report.md").read_text())
    assert sorted(shown) == sorted(f"figures/{f.name}.png" for f in figures())
    for address in shown:
        assert (whole / address).read_bytes().startswith(b"\x89PNG")
        assert (whole / address).with_suffix(".svg").exists()


@pytest.mark.parametrize("figure", figures(), ids=lambda figure: figure.name)
def test_a_figure_without_data_is_left_out_and_said_to_be(figure, tmp_path):
    assert figure.section in {section.title for section in SECTIONS}
    if figure.name == "round-time":
        return  # vanilla has rounds
    assert draw_all(figure, gather(vanilla_records()).studies, tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_a_report_of_vanilla_alone_says_what_the_figures_take(report):
    folder = report(vanilla_records())
    text = (folder / "report.md").read_text()
    assert [f.name for f in (folder / "figures").iterdir() if f.suffix == ".png"] == [
        "round-time.png"
    ]
    missing = [figure for figure in figures() if figure.name != "round-time"]
    assert all(
        f"No figure “{figure.title}”: it takes {figure.needs}." in text for figure in missing
    )


def test_several_models_stand_under_their_names(report, monkeypatch):
    drawn = [figure for figure in figures() if figure.name in ("speedup", "exit-layers")]
    monkeypatch.setattr(writing, "figures", lambda: drawn)
    folder = report(two_models())
    text = (folder / "report.md").read_text()
    assert text.count("### `tiny`") == text.count("### `other`") == 7
    assert "/home/ann" not in text
    names = {file.stem for file in (folder / "figures").iterdir()}
    assert {"speedup-tiny", "speedup-other", "exit-layers"} <= names
    assert "speedup" not in names


def test_heat_maps_hold_the_rates_of_their_rounds():
    (study,) = gather(all_records()).studies
    speeds, per_layer = (heat_values(study, "alpha", heat) for heat in (SPEED, ETPL))
    assert speeds.shape == (4, 2, 2)
    # (2, 2) on alpha: rounds of 3, 3 and 2 tokens in the first, second and last quarter
    assert speeds[0, 1, 1] == pytest.approx(3 / (0.8 / 3), rel=1e-4)
    assert speeds[3, 1, 1] == pytest.approx(2 / (0.8 / 3), rel=1e-4)
    assert per_layer[1, 1, 1] == pytest.approx(3 / (2 * 2 + 4))
    assert speeds[2, 1, 1] != speeds[2, 1, 1]  # no round begins there: NaN


def test_a_method_s_colour_does_not_depend_on_its_neighbours():
    (study,) = gather([*vanilla_records(), *del_records(), *del_records("del-e")]).studies
    assert colours(study)["del"] == COLOURS[0]
    assert len(set(colours(study).values())) == 3


def test_names_beside_curves_are_pushed_apart():
    assert spread([0.1, 0.5, 0.9], 0.1) == [0.1, 0.5, 0.9]
    placed = spread([0.5, 0.5, 0.52], 0.1)
    assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(placed))
    assert spread([], 0.1) == []


def test_a_new_report_replaces_the_old_one_and_nothing_else(report):
    folder = report([*vanilla_records(), *del_records()])
    (folder / "notes.txt").write_text("mine")
    (folder / "figures" / "photo.png").write_text("mine, too")
    assert report(vanilla_records()) == folder
    assert sorted(f.name for f in folder.iterdir()) == [
        "figures", "notes.txt", "report.html", "report.md"
    ]  # fmt: skip
    assert sorted(f.name for f in (folder / "figures").iterdir()) == [
        "photo.png", "round-time.png", "round-time.svg"
    ]  # fmt: skip


def test_the_same_records_make_the_same_files(report):
    records = [*vanilla_records(), *del_records()]
    first = {f: f.read_bytes() for f in report(records).rglob("*.*")}
    report(records)
    assert all(file.read_bytes() == content for file, content in first.items())


def test_a_report_that_fails_changes_nothing(report, monkeypatch, tmp_path):
    folder = report(vanilla_records())
    before = {f: f.read_bytes() for f in folder.rglob("*.*")}

    def broken(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "page", broken)
    with pytest.raises(DynexitError, match=r"cannot write .*out: No space left on device"):
        report(all_records())
    assert {f: f.read_bytes() for f in folder.rglob("*.*")} == before
    assert sorted(f.name for f in tmp_path.iterdir()) == ["out", "run.jsonl"]


def test_the_command_writes_a_report(dynexit, tmp_path):
    run, other = write(tmp_path / "a.jsonl", vanilla_records()), tmp_path / "b.jsonl"
    write(other, del_records())
    code, out, err = dynexit("report", run, other, "--out", tmp_path / "deep" / "out")
    assert code == 0
    assert out.splitlines()[1].endswith("report.html")
    assert "6 records" in err
    assert "2.67x" in (tmp_path / "deep" / "out" / "report.md").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        ("dear diary\n", "line 1 is not a record"),
        ("", "line 1 is not a record"),
        (del_records()[0].as_line(), "no usable vanilla record"),
    ],
)
def test_bad_input_is_one_sentence(dynexit, tmp_path, content, message):
    run = tmp_path / "run.jsonl"
    if content is not None:
        run.write_text(content)
    code, out, err = dynexit("report", run, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_folder_s_place_is_one_sentence(dynexit, tmp_path):
    run = write(tmp_path / "run.jsonl", vanilla_records())
    (tmp_path / "out").write_text("a file")
    code, _, err = dynexit("report", run, "--out", tmp_path / "out")
    assert code == 2
    assert "cannot write" in err
    assert (tmp_path / "out").read_text() == "a file"
