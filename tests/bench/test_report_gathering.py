"""Which records are compared with which, what is left out, and what things are called."""

import dataclasses

import pytest
from reporting import (
    PROMPTS,
    all_records,
    del_records,
    fixed,
    grid_records,
    plain,
    record,
    study_of,
    vanilla_records,
)

from dynexit import DynexitError
from dynexit.bench.records import Record
from dynexit.bench.report.gathering import gather
from dynexit.bench.report.study import Generation, task_scores
from dynexit.bench.report.wording import (
    code,
    fixed_pair,
    model_label,
    rank,
    scaled,
    task_label,
    within,
)


def read(one):
    """A record as the report holds it."""
    return Generation.of(one, one.stats, {})


def test_every_run_is_compared_with_its_own_vanilla():
    slower = {"options": {"max_new_tokens": 9, "seed": 1}}
    study = study_of(
        [
            record("t", "1", "vanilla", plain(8), 0.8),
            record("t", "1", "del", fixed(2, 3), 0.4),
            record("t", "1", "vanilla", plain(8), 8.0, **slower),
            record("t", "1", "finite-state", fixed(2, 3), 2.0, **slower),
        ]
    )
    assert study.total("del").speedup == pytest.approx(2.0)
    assert study.total("finite-state").speedup == pytest.approx(4.0)
    assert len(study.timings("vanilla")) == 1


def test_a_record_that_stands_twice_counts_once():
    study = study_of([*all_records(), *all_records()])
    assert study.total("del").tokens == 24
    assert len(study.of("del")) == 3


def test_a_text_is_scored_once_though_two_runs_wrote_it():
    again = vanilla_records(options={"max_new_tokens": 9, "seed": 1})
    study = study_of([*all_records(), *again])
    assert len(study.of("vanilla")) == 6
    assert [one.example for one in study.texts("vanilla", "alpha")] == ["a1", "a2"]


def test_failures_and_records_without_vanilla_enter_no_number():
    failed = Record("tiny", "alpha", "a3", "del", error="DynexitError: too long")
    alone = record("alpha", "a4", "del", fixed(2, 3), 100.0)
    evidence = gather([*all_records(), failed, alone])
    assert evidence.failed == [failed]
    assert [one.example for one in evidence.unpaired] == ["a4"]
    assert evidence.studies[0].total("del").tokens == 24


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "hold no records"),
        (del_records(), "no usable vanilla record"),
        ([Record("m", "t", "1", "vanilla", error="E: no")], "every record .* is of a failure"),
        (
            [*vanilla_records(), *vanilla_records(options={"max_new_tokens": 99})],
            "made with max_new_tokens 9 and 99: report them separately",
        ),
    ],
)
def test_what_cannot_be_reported_is_refused(records, message):
    with pytest.raises(DynexitError, match=message):
        gather(records)


def test_a_grid_is_apart_from_the_methods_of_the_table():
    study = study_of(all_records())
    assert study.methods == ["vanilla", "del"]
    assert list(study.grid) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    few = study_of([*vanilla_records(), *grid_records()[:9]])  # three pairs are no grid
    assert len(few.methods) == 4
    assert not few.grid


def test_methods_stand_in_the_paper_s_order():
    names = [
        "two-model",
        "del-e",
        "del",
        "del:cap=planned",
        "draft-verify",
        "layerskip:exit_layer=2",
    ]
    assert sorted(names, key=rank) == [
        "layerskip:exit_layer=2", "draft-verify", "del", "del:cap=planned", "del-e", "two-model"
    ]  # fmt: skip
    assert fixed_pair("layerskip:exit_layer=5,speculation_length=3") == (5, 3)
    assert fixed_pair("layerskip:exit_layer=5") == (5, 6)
    assert fixed_pair("layerskip") is None
    assert fixed_pair("finite-state:exit_layer=5") is None


def test_scores_are_means_except_of_a_corpus():
    pytest.importorskip("sacrebleu")
    texts = ["the cat sat on the mat today", "dogs bark at night"]
    references = ["the cat sat on the mat today", "birds sing early in the morning"]
    records = [
        record(
            "wmt14_de_en", str(i), "del", fixed(2, 3), 1.0, text=t, reference=r, scores={"bleu": b}
        )
        for i, (t, r, b) in enumerate(zip(texts, references, (100.0, 0.0), strict=True))
    ]
    found = task_scores(list(map(read, records)))
    assert set(found) == {"bleu", "chrf"}
    assert found["bleu"] != pytest.approx(50.0)
    renamed = [dataclasses.replace(r, task="another") for r in records]
    assert task_scores(list(map(read, renamed))) == {"bleu": 50.0}


def test_scores_that_took_running_code_are_not_taken_again():
    records = [
        record("human_eval", str(i), "del", fixed(2, 3), 1.0, scores={"pass@1": s})
        for i, s in enumerate((1.0, 0.0, 1.0, 1.0))
    ]
    assert task_scores(list(map(read, records))) == {"pass@1": 0.75}
    assert task_scores([read(record("human_eval", "1", "del", fixed(2, 3), 1.0))]) == {}


def test_no_folder_of_the_machine_is_named():
    assert model_label("/home/ann/models/tiny") == "tiny"
    assert model_label("facebook/layerskip-llama3.2-1B") == "facebook/layerskip-llama3.2-1B"
    assert task_label("jsonl:/home/ann/prompts.jsonl") == "jsonl:prompts.jsonl"
    assert task_label("gsm8k") == "gsm8k"


def test_two_folders_of_one_name_are_told_apart():
    records = [*vanilla_records(model="/a/tiny"), *vanilla_records(model="/b/tiny")]
    assert [study.model for study in gather(records).studies] == ["tiny", "tiny (2)"]


def test_how_numbers_are_written():
    assert [scaled(x) for x in (0, 999, 16_900_000, 2.24e12)] == ["0", "999", "16.9M", "2.24T"]
    assert (scaled(8e9), scaled(3_000_000, "B"), scaled(None)) == ("8.00G", "3.00 MB", "-")
    assert within(1.4249, (1.31, 1.5)) == "1.42x [1.31, 1.50]"
    assert within(1.0, None) == "1.00x"
    assert code("a|b\n`c`") == r"`a\|b 'c'`"


def test_two_prompts_of_one_id_are_two_prompts():
    """Runs in two files, between which the file of prompts was edited."""
    later = [dataclasses.replace(r, prompt="edited") for r in [*vanilla_records(), *del_records()]]
    study = study_of([*vanilla_records(), *del_records(), *later])
    assert len(study.timings("del")) == 2 * len(PROMPTS)
    assert {example for _, example in study.timings("del")} >= {"a1", "a1 (2)"}


def test_prompts_that_are_gone_are_in_no_number():
    gone = [dataclasses.replace(r, gone=True, stats=None) for r in vanilla_records()[:1]]
    study = study_of([*vanilla_records(), *del_records(), *gone])
    assert {example for _, example in study.timings("del")} == {"a2", "b1"}
