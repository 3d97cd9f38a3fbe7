"""The numbers of a report, against numbers worked out by hand."""

import dataclasses

import pytest
from reporting import (
    LAYERS,
    PROMPTS,
    SHAPE,
    all_records,
    del_records,
    drafted,
    fixed,
    grid_records,
    plain,
    record,
    study_of,
    vanilla_records,
)

from dynexit import DynexitError
from dynexit.bench.records import Record
from dynexit.bench.report.gathering import gather, generation
from dynexit.bench.report.rounds import Rounds, Rows, bounds, over_rounds, segments
from dynexit.bench.report.speeds import Timing, interval
from dynexit.bench.report.study import task_scores
from dynexit.bench.report.wording import (
    code,
    fixed_pair,
    model_label,
    rank,
    scaled,
    task_label,
    within,
)
from dynexit.decoding.records import Statistics


def read(one):
    """A record as the report holds it."""
    return generation(one, one.stats, {})


def columns(rounds):
    """Rounds as the report holds them."""
    return Rounds.read(Statistics(LAYERS, rounds).as_dict())


def test_rates_are_those_of_the_engine():
    rounds = [drafted(2, 4, 1, threshold=0.5), *plain(2), drafted(3, 2, 2, threshold=0.7)]
    ours, theirs = columns(rounds), Statistics(LAYERS, rounds)
    for name in ("etpl", "acceptance_rate", "mean_acceptance_length"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name))
    assert (ours.mean_exit_layer, ours.mean_drafted) == (2.5, 1.5)
    assert ours.mean_threshold == pytest.approx(0.6)


def test_rates_of_nothing_are_none():
    nothing = columns([])
    rates = ("etpl", "acceptance_rate", "mean_acceptance_length", "mean_exit_layer")
    more = ("mean_drafted", "mean_threshold", "tokens_per_second")
    assert all(getattr(nothing, name) is None for name in rates + more)


def test_a_speedup_is_a_micro_average():
    study = study_of(
        [
            record("t", "short", "vanilla", plain(10), 1.0),
            record("t", "long", "vanilla", plain(30), 6.0),
            record("t", "short", "del", fixed(2, 4, 10), 0.5),
            record("t", "long", "del", fixed(2, 4, 30), 2.0),
        ]
    )
    assert study.total("del").speedup == pytest.approx((7 / 40) / (2.5 / 40))  # not (2 + 3) / 2
    assert study.total("del").tokens_per_second == pytest.approx(40 / 2.5)
    assert study.total("vanilla").speedup == 1


def test_a_speedup_is_per_token_where_texts_differ_in_length():
    assert Timing(2.0, 10, 1.0, 20).speedup == pytest.approx(4.0)
    assert Timing().speedup is None
    assert Timing().tokens_per_second is None


SLOW, FAST = Timing(2.0, 10, 1.0, 10), Timing(3.0, 10, 1.0, 10)


def interval_of(*tasks):
    """Of so many tasks, each with these timings of its prompts."""
    return interval({(str(i), str(j)): t for i, own in enumerate(tasks) for j, t in enumerate(own)})


def test_the_interval_of_two_prompts_spans_from_one_to_the_other():
    """Drawn with replacement, the slower stands alone in a quarter of the resamples."""
    nothing = [[Timing()]] * 3
    assert interval_of([SLOW, FAST], *nothing) == pytest.approx((2.0, 3.0))
    assert interval_of([SLOW, FAST], *nothing) == interval_of([SLOW, FAST], *nothing)


def test_prompts_are_drawn_within_their_task():
    assert interval_of([SLOW], [FAST], [SLOW, SLOW], [FAST]) == pytest.approx((2.4, 2.4))


def test_few_prompts_have_no_interval():
    assert interval_of([SLOW, FAST], [SLOW, FAST]) is None
    assert interval_of([SLOW, FAST], [SLOW, FAST, SLOW]) is not None
    assert interval_of([Timing()] * 5) is None  # nor has what decoded nothing


def test_the_interval_narrows_with_more_prompts():
    prompts = [Timing(1 + 0.1 * (i % 5), 10, 1.0, 10) for i in range(200)]
    low, high = interval_of(prompts)
    wide_low, wide_high = interval_of(prompts[:10])
    assert wide_low < low < 1.2 < high < wide_high


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
            "made with max_new_tokens 9 and 99: report them apart",
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


def test_the_best_pairs_with_hindsight():
    study = study_of(all_records())
    grid = study.fixed_pairs
    assert grid.best_overall.pair() == (1, 1)
    assert grid.best_overall.speedup() == pytest.approx(3.2 / 1.5)
    assert grid.best_per_task.pair("alpha") == (1, 2)
    assert grid.best_per_task.pair("beta") == (2, 2)
    assert grid.best_per_task.pair() is None
    assert grid.best_per_task.speedup() == pytest.approx(3.2 / (0.2 + 0.7 + 0.4))
    assert list(grid.oracle.pairs.values()) == [(1, 2), (2, 1), (2, 2)]
    assert grid.oracle.speedup() == pytest.approx(3.2 / 1.0)
    assert grid.oracle.speedup("alpha") == pytest.approx(1.6 / 0.6)


def test_regret_is_what_is_missing_to_the_oracle():
    study = study_of(all_records())
    grid = study.fixed_pairs
    made = grid.method("del", study.timings("del"))
    assert grid.regret(made) == pytest.approx(1 - 1.0 / 1.2)
    assert grid.regret(grid.oracle) == 0
    assert grid.regret(grid.best_overall) == pytest.approx(1 - 1.0 / 1.5)


def test_a_grid_is_of_the_prompts_that_all_pairs_have_finished():
    lost = grid_records()[-1]  # (2, 2) on b1
    without = [r for r in all_records() if r.key != lost.key]
    study = study_of(without)
    assert study.fixed_pairs.prompts == [("alpha", "a1"), ("alpha", "a2")]
    unfinished = study_of([r for r in without if (r.method, r.example) != ("del", "a1")])
    assert unfinished.fixed_pairs.method("del", unfinished.timings("del")) is None
    assert not study_of(vanilla_records()).fixed_pairs


def test_flops_of_vanilla_are_all_layers_and_a_head_for_every_token():
    one = record("t", "1", "vanilla", plain(3), 1.0)
    assert read(one).flops == 2 * 3 * (4 * 10 + 100)
    assert read(dataclasses.replace(one, shape={})).flops is None


def test_flops_of_a_draft_count_rejected_rows_and_both_heads():
    rounds = [drafted(2, 3, 1), *plain(1)]
    layers, heads = 4 * 4 + 4, 3 + 4 + 1
    assert columns(rounds).rows(shadow=False) == Rows(layers, heads)
    one = record("t", "1", "layerskip", rounds, 1.0)
    assert read(one).flops == 2 * (10 * layers + 100 * heads)


def test_flops_of_del_hold_the_heads_of_its_shadow_tokens():
    rounds = [drafted(2, 3, 1), *plain(1)]
    shadow = 3 * (1 + 1) + 3 * (0 + 1)
    assert columns(rounds).rows(shadow=True) == Rows(20, 8 + shadow)
    one = record("t", "1", "del", rounds, 1.0)
    assert read(one).flops == 2 * (10 * 20 + 100 * (8 + shadow))


def test_flops_of_two_models_are_those_of_both():
    """The second model reads what it has not read, and each of its tokens but the last."""
    shape = {
        **SHAPE, "draft_num_layers": 2, "draft_layer_parameters": 3, "draft_head_parameters": 5
    }  # fmt: skip
    rounds = [drafted(0, 3, 1, drafter="second-model"), drafted(0, 2, 2, drafter="second-model")]
    rounds += [*plain(1), drafted(0, 2, 0, drafter="second-model")]
    rows = columns(rounds).rows(shadow=False)
    passed = (2 + 2) + (1 + 1) + (3 + 1)  # unread: two at first, one, then two and a plain step's
    assert rows == Rows(4 * (4 + 3 + 1 + 3), 4 + 3 + 1 + 3, passed, 3 + 2 + 2)
    one = record("t", "1", "two-model", rounds, 1.0, shape=shape)
    assert read(one).flops == 2 * (10 * 44 + 100 * 11 + 3 * 20 + 5 * 7)


def test_segments_are_quarters_by_a_round_s_first_token():
    """Tokens 1 to 8 after prefill's 0: rounds begin at 1, 4 and 7 of 9."""
    text = record("alpha", "a1", "del", fixed(1, 2), 0.8)
    texts = study_of([*vanilla_records(), text]).rounds_of_texts("del")
    assert [len(quarter) for quarter in segments(texts, 9)] == [1, 1, 0, 1]
    first, second, third, fourth = segments(texts, 9)
    assert [quarter.tokens.sum() for quarter in (first, second, fourth)] == [3, 3, 2]
    assert first.tokens_per_second == pytest.approx(3 / (0.8 / 3), rel=1e-4)
    assert fourth.etpl == pytest.approx(2 / (1 * 2 + 4))
    assert third.tokens_per_second is None
    assert third.etpl is None
    assert bounds(512) == [(1, 128), (129, 256), (257, 384), (385, 512)]
    assert bounds(9) == [(1, 3), (4, 5), (6, 7), (8, 9)]


def test_curves_over_rounds_are_means_while_half_of_the_texts_go_on():
    rounds = [drafted(2, 4, 1), drafted(3, 2, 2)]
    other = [drafted(1, 2, 2), *plain(1)]
    long = [*other, *plain(3)]
    records = [record("t", str(i), "del", r, 1.0) for i, r in enumerate((rounds, other, long))]
    vanilla = [dataclasses.replace(r, method="vanilla") for r in records]
    texts = study_of([*records, *vanilla]).rounds_of_texts("del")
    assert over_rounds(texts, lambda r: r.mean_exit_layer) == (
        [1.0, 2.0],
        [pytest.approx(4 / 3), 3.0],
    )
    assert over_rounds(texts, lambda r: r.acceptance_rate) == (
        [1.0, 2.0],
        [pytest.approx(5 / 8), 1.0],
    )
    assert over_rounds([], lambda r: r.mean_exit_layer) == ([], [])


def test_the_controller_s_share_is_of_the_round():
    parts = study_of(all_records()).rounds("del").phases
    assert parts.round == pytest.approx(1.2e3 / 6)
    assert parts.draft == pytest.approx(0.25 * 200)
    assert parts.control_share == pytest.approx(0.05)
    assert columns([]).phases is None


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
