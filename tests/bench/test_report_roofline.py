"""A roofline in a report: its table, its figure, and files that hold something else."""

import dataclasses
import json

import pytest
from reporting import (
    del_records,
    point,
    roofline,
    row_of,
    tables,
    vanilla_records,
    write,
    write_roofline,
)

from dynexit.bench.passes import read_roofline
from dynexit.bench.report.figures.roofline import draw_rooflines


def test_a_roofline_is_read_as_it_was_written(tmp_path):
    found = roofline(cache_bytes=32_000_000)
    assert read_roofline(write_roofline(tmp_path / "r.json", found)) == found


def test_the_table_of_passes(whole):
    text = (whole / "report.md").read_text()
    (table,) = tables(text)["What a pass costs"]
    assert [row[:2] for row in table[2:]] == [["100", "1"], ["100", "4"], ["200", "1"]]
    assert row_of([table[0], table[3]], "100") == {
        "positions": "100",
        "rows": "4",
        "layers, ms": "1.50",
        "head, ms": "0.50",
        "pass, ms": "2.00",
        "ms a row": "0.50",
        "against the fewest rows": "1.45x",
        "least possible, ms": "1.10",  # 10 MB and 1 MB at 10 GB/s, the better of both looks
        "share": "55 %",
    }
    assert "`tiny, bfloat16, native, avx2, 2 threads`: 11.0 MB of weights a token" in text
    assert "8.0 GB/s from memory, 10.0 GB/s at the weights' size, 20 GFLOP/s before" in text


def test_what_the_figure_draws():
    figure = draw_rooflines([roofline(), roofline(model="other")])
    assert len(figure.axes) == 4
    times, shares = figure.axes[:2]
    drawn = [line.get_xydata().tolist() for line in times.lines]
    assert drawn[:2] == [[[1, 1.375], [4, 2.0]], [[1, pytest.approx(1.1)], [4, pytest.approx(1.1)]]]
    assert drawn[2] == [[1, 1.5]]
    assert shares.lines[0].get_ydata().tolist() == pytest.approx([0.8, 0.55])
    assert times.get_ylim()[0] == shares.get_ylim()[0] == 0


def test_several_rooflines_share_a_figure(dynexit, tmp_path):
    run = write(tmp_path / "run.jsonl", [*vanilla_records(), *del_records()])
    first = write_roofline(tmp_path / "1.json", roofline())
    second = write_roofline(tmp_path / "2.json", roofline(model="/home/ann/models/<b>|other"))
    out = tmp_path / "out"
    code, _, _ = dynexit(*("report", run, "--out", out, "--roofline", first, "--roofline", second))
    assert code == 0
    text = (out / "report.md").read_text()
    assert text.count("](figures/roofline.png)") == 1
    assert len(tables(text)["What a pass costs"]) == 2
    assert "/home/ann" not in text
    assert (out / "figures" / "roofline.svg").exists()
    assert "<b>" not in (out / "report.html").read_text()


def altered(change):
    """The text of a roofline's file after `change` of its plain values."""
    found = roofline().as_dict()
    change(found)
    return json.dumps(found)


def set_point(name, value):
    return altered(lambda found: found["points"][0].update({name: value}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        ("", "it is empty"),
        ("[1, 2]", "is [1, 2]: it must be a list of names"),
        (b"\xff\xfe", "not UTF-8 text"),
        ("[" * 100_000, "recursion"),
        ('{"model": "tiny", "task": "alpha"}', "has an unknown 'task'"),
        (altered(lambda found: found.update(points=[])), "no points"),
        (altered(lambda found: found.update(points={})), "it.points is {}"),
        (altered(lambda found: found.update(model=3)), "it.model is 3"),
        (altered(lambda found: found.pop("after")), "lacks 'after'"),
        (altered(lambda found: found["before"].pop("memory")), "lacks 'memory'"),
        (altered(lambda found: found["before"].update(own_size=0)), "own_size is 0"),
        (altered(lambda found: found.update(points=[7])), "it.points[0] is 7"),
        (set_point("rows", 1.5), "rows is 1.5"),
        (set_point("rows", True), "rows is True"),
        (set_point("head_ms", float("nan")), "head_ms is nan"),
        (set_point("layers_ms", -1), "layers_ms is -1"),
        (set_point("layers_ms", 10**400), "a number of 1329 bits"),
        (set_point("rows", 10**400), "a number of 1329 bits"),
        (altered(lambda found: found.update(points=7)), "it.points is 7"),
    ],
)
def test_another_file_is_one_sentence(dynexit, tmp_path, content, message):
    run, file = write(tmp_path / "run.jsonl", vanilla_records()), tmp_path / "roofline.json"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, out, err = dynexit("report", run, "--out", tmp_path / "out", "--roofline", file)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_two_points_of_one_shape_are_both_shown():
    found = roofline(points=[point(1, 100, 1.0, 0.5), point(1, 100, 2.0, 0.5)])
    assert [p.layers_ms for p in found.at(100)] == [1.0, 2.0]
    assert found.contexts == [100]
    assert dataclasses.replace(found, points=[]).contexts == []
