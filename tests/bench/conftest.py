import json

import pytest
from reporting import all_records, fixed, record, roofline, write, write_roofline

from dynexit.bench.options import Options
from dynexit.bench.records import Record
from dynexit.bench.report.writing import write_report

QUESTIONS = [
    {"question": f"Ann has {n} pens and buys {n + 1}. How many now?", "answer": f"#### {2 * n + 1}"}
    for n in range(6)
]


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    """A folder with the rows of one benchmark, and a file of prompts."""
    folder = tmp_path_factory.mktemp("rows")
    lines = [json.dumps(row) + "\n" for row in QUESTIONS]
    (folder / "gsm8k_test.jsonl").write_text("".join(lines))
    prompts = [{"prompt": "Once upon a time"}, {"prompt": "x" * 5_000}, {"prompt": "The end"}]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(p) + "\n" for p in prompts))
    return folder


@pytest.fixture(scope="session")
def options(rows, checkpoint):
    """Three questions, three methods, ten tokens."""
    return Options(
        models=(str(checkpoint),),
        tasks=("gsm8k",),
        methods=("vanilla", "del", "layerskip:exit_layer=3,speculation_length=2"),
        data_dir=str(rows),
        num_samples=3,
        max_new_tokens=10,
        dtype="fp32",
    )


@pytest.fixture
def report(tmp_path):
    """Write a report of records; gives the folder."""

    def made(records):
        return write_report([write(tmp_path / "run.jsonl", records)], tmp_path / "out").folder

    return made


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The report of everything, read only: its folder."""
    folder = tmp_path_factory.mktemp("report")
    records = [
        *all_records(),
        Record("tiny", "alpha", "a3", "del", error="DynexitError: <b>5,000 | 9</b>\ntokens"),
        record("alpha", "a4", "del", fixed(2, 3), 1.0),
    ]
    passes = write_roofline(folder / "roofline.json", roofline())
    return write_report([write(folder / "run.jsonl", records)], folder / "out", [passes]).folder
