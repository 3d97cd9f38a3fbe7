"""Which run a record comes from, and what a report says of it."""

import dataclasses
import subprocess

import pytest
from reporting import del_records, text_of, vanilla_records

from dynexit.bench.provenance import command_line, commit_of, provenance

ORIGIN = {
    "date": "2026-11-26T16:20:00+00:00",
    "command": "dynexit bench --task 'jsonl:my file.jsonl' --out run.jsonl",
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "dynexit": "1.0",
    "torch": "2.9",
    "transformers": "5.24",
    "python": "3.11",
    "processor": "Zen | 5",
    "threads": 2,
}


def head(records):
    """{name: what is said} of the list under the title."""
    title, lines, _ = text_of(records).split("\n\n", 2)
    assert title.startswith("# ")
    return dict(line.removeprefix("- ").split(": ", 1) for line in lines.splitlines())


def git(folder, *command):
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    told = subprocess.run(["git", "-C", folder, *who, *command], capture_output=True, check=True)
    return told.stdout.decode().strip()


def test_a_report_begins_with_its_run():
    made = {"environment": ORIGIN}
    assert head([*vanilla_records(**made), *del_records(**made)]) == {
        "Date": "`2026-11-26`",
        "Command": "`dynexit bench --task 'jsonl:my file.jsonl' --out run.jsonl`",
        "Versions": "dynexit `1.0`, torch `2.9`, transformers `5.24`, python `3.11`",
        "Commit": "`0123456789abcdef0123456789abcdef01234567`",
        "Machine": r"processor `Zen \| 5`, threads `2`",
    }


def test_several_runs_are_told_together():
    later = {**ORIGIN, "date": "2026-12-01T00:00:00+00:00", "command": "dynexit bench", "torch": 3}
    records = [*vanilla_records(environment=ORIGIN), *del_records(environment=later)]
    found = head(records)
    assert found["Date"] == "`2026-11-26` to `2026-12-01`"
    assert found["Command"].endswith("run.jsonl`, `dynexit bench`")
    assert "torch `2.9` or `3`" in found["Versions"]
    many = [
        dataclasses.replace(r, environment={"command": f"c{i}"}) for i, r in enumerate(4 * records)
    ]
    ids = [dataclasses.replace(r, example=f"{r.example}{i}") for i, r in enumerate(many)]
    vanilla = [r for r in ids if r.method == "vanilla"]
    assert head(vanilla)["Command"].endswith("and 4 more")


def test_records_of_an_older_dynexit_say_less():
    names = ("Date", "Command", "Versions", "Commit", "Machine")
    assert head(vanilla_records()) == dict.fromkeys(names, "not recorded")
    odd = {"date": 3, "command": None, "commit": ["x"]}
    assert head(vanilla_records(environment=odd))["Date"] == "`3`"


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["/home/ann/.venv/bin/dynexit", "bench", "a b"], "dynexit bench 'a b'"),
        (["/src/dynexit/__main__.py", "sweep"], "dynexit sweep"),
        (["study.py", "--fast"], "study.py --fast"),
        ([""], "dynexit"),
        (["dynexit", "\udcff"], "dynexit '?'"),
    ],
)
def test_a_command_is_told_as_a_shell_takes_it(arguments, command):
    assert command_line(arguments) == command


def test_a_commit_is_told_of_a_checkout_alone(tmp_path):
    git(tmp_path, "init", "--quiet")
    assert commit_of(tmp_path) is None  # nothing is committed
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--quiet", "--message", "First")
    git(tmp_path, "tag", "--annotate", "v1", "--message", "v1")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert commit_of(tmp_path) == commit
    (tmp_path / "file").write_text("two")
    assert commit_of(tmp_path) == f"{commit}-dirty"
    (tmp_path / "inside").mkdir()
    assert commit_of(tmp_path / "inside") is None  # of whatever project lies around it
    (tmp_path / ".git" / "HEAD").write_text("damaged")
    assert commit_of(tmp_path) is None


def test_a_run_is_told_with_its_time_zone():
    found = provenance()
    assert set(found) == {"date", "command", "commit", "transformers"}
    assert found["date"].endswith("+00:00")
