"""A report's folder: what it holds, what it replaces, and what becomes of bad input."""

import base64
import re

import pytest
from reporting import all_records, del_records, vanilla_records, write

from dynexit import DynexitError
from dynexit.bench.report import writing
from dynexit.bench.report.figures import figures
from dynexit.bench.report.writing import write_report

ELSEWHERE = re.compile(r"""(?:src|href)=["'](?!data:)|@import|<script|url\(\s*["']?http""")


def test_the_page_needs_nothing_but_itself(whole):
    page = (whole / "report.html").read_text()
    assert not ELSEWHERE.search(page)
    images = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert len(images) == len(list((whole / "figures").glob("*.svg"))) == len(figures())
    assert all(base64.b64decode(image).startswith(b"<?xml") for image in images)
    assert not re.search(r'(?:href|src)="http', page)


@pytest.fixture
def two_figures(monkeypatch):
    """Folders are the same whatever number of figures they hold."""
    drawn = [figure for figure in figures() if figure.name in ("speedup", "round-time")]
    monkeypatch.setattr(writing, "figures", lambda: drawn)


@pytest.mark.usefixtures("two_figures")
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


def test_the_same_records_make_the_same_files(whole, tmp_path):
    run, passes = whole.parent / "run.jsonl", whole.parent / "roofline.json"
    again = write_report([run], tmp_path / "out", [passes]).folder
    files = [file.relative_to(whole) for file in whole.rglob("*.*")]
    assert len(files) == 2 + 2 * len(figures())
    assert all((whole / file).read_bytes() == (again / file).read_bytes() for file in files)


@pytest.mark.usefixtures("two_figures")
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


@pytest.mark.usefixtures("two_figures")
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
        ("", "is empty"),
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
    assert "is a file: give a folder" in err
    assert (tmp_path / "out").read_text() == "a file"
