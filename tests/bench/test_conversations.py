"""SPEED-Bench's conversations: each turn reads the model's own answers, and is one record."""

import dataclasses
import json
import shutil

import pytest
from reporting import del_records, tables, vanilla_records

import dynexit
from dynexit.bench.executors import Inline
from dynexit.bench.records import read_records
from dynexit.bench.run import run
from dynexit.errors import DynexitError
from dynexit.tasks import load_examples, task_names, usual_tasks

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
ROWS = [
    {"question_id": "7", "category": "coding", "sub_category": "x", "turns": ["One", "Two", "3"]},
    {"question_id": 8, "category": "qa", "turns": ["Who?"], "multiturn": False},
]


def nobody(record, done, total):
    """A watcher that looks away."""


def written(folder, rows):
    (folder / "speed_bench.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def chatty(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chatty") / "model"
    shutil.copytree(checkpoint, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture
def asked(options, chatty, tmp_path):
    return dataclasses.replace(
        options,
        models=(str(chatty),),
        tasks=("speed_bench",),
        data_dir=str(written(tmp_path, ROWS)),
        num_samples=None,
    )


def expected(lm, chat):
    """By example: prompt tokens and new ids, from the library alone."""
    found, said = {}, []
    for count, turn in enumerate(ROWS[0]["turns"], 1):
        said.append({"role": "user", "content": turn})
        if chat:
            ids = lm.tokenizer.encode_chat(said)
        else:
            ids = lm.tokenizer.encode("\n\n".join(m["content"] for m in said) + "\n\n")
        out = lm.generate(ids, "vanilla", max_new_tokens=10)
        found[f"7.{count}"] = len(ids), out.token_ids
        said.append({"role": "assistant", "content": out.text})
    return found


@pytest.mark.parametrize("chat", [True, False])
def test_a_turn_reads_the_answers_before_it(asked, tmp_path, checkpoint, chatty, chat):
    model = chatty if chat else checkpoint
    asked = dataclasses.replace(asked, models=(str(model),))
    out = tmp_path / "run.jsonl"
    assert run(asked, out, Inline(), nobody) == (0, 0)
    records = list(read_records([out]))
    assert len(records) == 4 * len(asked.methods)
    lm = dynexit.load(model, dtype="fp32", device="cpu", check=False)
    for name, (length, ids) in expected(lm, chat).items():
        own = [record for record in records if record.example == name]
        assert {record.method for record in own} == set(asked.methods)
        assert {(r.prompt_tokens, tuple(r.token_ids)) for r in own} == {(length, tuple(ids))}
        assert {record.category for record in own} == {"coding"}
    assert {record.category for record in records if record.example == "8"} == {"qa"}


def test_a_run_that_was_stopped_writes_earlier_answers_again(asked, tmp_path):
    out = tmp_path / "run.jsonl"
    run(asked, out, Inline(), nobody)
    lines = out.read_text().splitlines(keepends=True)
    last = [line for line in lines if json.loads(line)["example"] == "7.3"]
    out.write_text("".join(line for line in lines if line not in last))
    run(asked, out, Inline(), nobody)
    again = [record for record in read_records([out]) if record.example == "7.3"]
    assert sorted((r.method, r.token_ids) for r in again) == sorted(
        (json.loads(line)["method"], json.loads(line)["token_ids"]) for line in last
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"turns": "text"}, "row 1 of the data has no field 'turns' that is a list of texts"),
        ({"turns": []}, "has no field 'turns'"),
        ({"turns": ["a", ""]}, "has no field 'turns'"),
        ({"question_id": None}, "has no field 'question_id' that is text or a number"),
        ({"category": 3}, "has no field 'category' that is text"),
        (
            {
                "turns": [
                    "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE USING SPECDEC_BENCH"
                ]
            },
            "is a placeholder for text of another data set: fill it in by SPEED-Bench's own",
        ),
    ],
)
def test_rows_that_cannot_be_asked(tmp_path, change, said):
    folder = written(tmp_path, [ROWS[0] | change])
    with pytest.raises(DynexitError, match=said):
        load_examples("speed_bench", folder, None, None, "del", 0)


def test_it_runs_where_it_is_named(rows):
    assert "speed_bench" in task_names()
    assert "speed_bench" not in usual_tasks()


def test_the_report_has_a_table_by_category(report):
    categories = {"a1": "coding", "a2": "qa", "b1": ""}
    records = [
        dataclasses.replace(one, category=categories[one.example])
        for one in (*vanilla_records(), *del_records())
    ]
    (table,) = tables((report(records) / "report.md").read_text())["Category by category"]
    assert table[0] == ["`alpha`", "prompts", "`del`"]
    # 8 tokens in 0.4 s against 0.8 s; two rounds of three accepted drafts
    assert table[2:] == [
        ["coding", "1", "2.00x (4.00)"],
        ["qa", "1", "2.00x (4.00)"],
        ["all", "2", "2.00x (4.00)"],
    ]


def test_without_categories_there_is_no_such_table(report):
    told = (report([*vanilla_records(), *del_records()]) / "report.md").read_text()
    assert "Category by category" not in told
