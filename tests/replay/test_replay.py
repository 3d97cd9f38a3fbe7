"""Replay against real runs: the same rounds, and what a damaged file is told."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from dynexit import DynexitError, load
from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.costs import Costs
from dynexit.decoding.plans import Plan
from dynexit.methods import make_controller
from dynexit.model.drafting_rule import Pricing
from dynexit.replay.oracle import oracle
from dynexit.replay.recording import record_text, trace_info
from dynexit.replay.running import Replaying, replay, replay_all
from dynexit.replay.trace import Trace, TracedText, TraceInfo, load_trace

COSTS = Costs(
    (1, 4, 8), (1e-4, 1.2e-4, 2e-4), (3e-4, 3e-4, 4e-4), (1e-5,) * 3, 8e-5, (0.0,) * 3, 1e-4, 8192
)
LONG = replace(COSTS, position=(2e-6, 6e-6, 1e-5))  # a context of 50 doubles what a layer costs
PROMPTS = (
    "Question: A box holds 12 pens. Tom buys 3 boxes. How many pens does he have?\nAnswer:",
    "German: Ich habe ein rotes Auto und ein blaues Auto.\nEnglish:",
    "def add(a, b):\n    return a + b\n\n\ndef subtract(a, b):\n",
)
NEW, TRIMMED = 48, 2048
# Those that read neither clocks nor what was drafted past a mismatch.
EXACT = (
    "vanilla",
    "layerskip:exit_layer=4,speculation_length=3",
    f"layerskip:exit_layer=2,speculation_length=5,draft_vocabulary={TRIMMED}",
    "finite-state:exit_layer=3",
    "del-e:analysis=full",
    "del:analysis=full,exit_layer=5,threshold=false",
)


@pytest.fixture(scope="module")
def lm():
    return load(check=False)


@pytest.fixture(scope="module")
def trace(lm):
    trace = Trace(trace_info(lm, TRIMMED))
    for index, prompt in enumerate(PROMPTS):
        trace.texts.append(record_text(lm, f"sample-{index}", prompt, NEW, TRIMMED))
    return trace


@pytest.mark.parametrize("method", EXACT)
def test_replay_accepts_what_a_real_run_accepts(lm, trace, method):
    for text, prompt in zip(trace.texts, PROMPTS, strict=True):
        real = lm.generate(prompt, method, max_new_tokens=text.generated)
        played = replay(Replaying(trace, COSTS, None), text, make_controller(method))
        for field in ("drafted", "accepted", "tokens"):
            told = [getattr(r, field) for r in played.rounds]
            assert told == [getattr(r, field) for r in real.stats.rounds], field


def test_exits_choose_among_the_tokens_that_were_learned(lm):
    info = trace_info(lm)
    assert (
        info.draft_vocabulary == lm.learned.draft_tokens.usual(lm.model.vocabulary_size) < TRIMMED
    )
    method = "layerskip:exit_layer=4,speculation_length=3"
    method = f"{method},draft_vocabulary={info.draft_vocabulary}"
    text = record_text(lm, "sample-0", PROMPTS[0], NEW, info.draft_vocabulary)
    real = lm.generate(PROMPTS[0], method, max_new_tokens=text.generated)
    given = Replaying(Trace(info, [text]), COSTS, None)
    played = replay(given, text, make_controller(method))
    assert [r.accepted for r in played.rounds] == [r.accepted for r in real.stats.rounds]
    assert text.trimmed.max() > info.draft_vocabulary  # not the first ids


class Bushy(Controller):
    """Drafts three children of every token."""

    def plan(self) -> Plan:
        odds = ((1.0,) * 10, (0.9,) * 10, (0.8,) * 10)
        return Plan(4, 4, pricing=Pricing(odds, (0.0,) * 20, ()))


def test_replay_accepts_the_branches_that_a_real_run_accepts(lm, trace):
    beside = 0
    for text, prompt in zip(trace.texts, PROMPTS, strict=True):
        real = lm.generate(prompt, Bushy(), max_new_tokens=text.generated)
        played = replay(Replaying(trace, COSTS, None), text, Bushy())
        for field in ("drafted", "tokens", "depth"):
            told = [getattr(r, field) for r in played.rounds]
            assert told == [getattr(r, field) for r in real.stats.rounds], field
        paths = [[*r.path] for r in played.rounds]
        assert paths == [[*r.path] for r in real.stats.rounds]
        beside += sum(path != list(range(1, len(path) + 1)) for path in paths)
    assert beside


def test_a_threshold_ends_drafts_alike_up_to_a_mismatch(lm, trace):
    for text, prompt in zip(trace.texts, PROMPTS, strict=True):
        real = lm.generate(prompt, "draft-verify:exit_layer=4", max_new_tokens=text.generated)
        played = replay(
            Replaying(trace, COSTS, None), text, make_controller("draft-verify:exit_layer=4")
        )
        first = real.stats.rounds[0]
        assert played.rounds[0].accepted == first.accepted


def test_a_file_holds_all_of_a_trace(trace, tmp_path: Path):
    file = tmp_path / "trace.safetensors"
    trace.save(file)
    read = load_trace(file)
    assert read.info == trace.info
    for mine, theirs in zip(read.texts, trace.texts, strict=True):
        assert (mine.name, mine.prompt_length, mine.first) == (
            theirs.name,
            theirs.prompt_length,
            theirs.first,
        )
        for name in ("tokens", "best", "confidence", "trimmed", "trimmed_confidence"):
            assert np.array_equal(getattr(mine, name), getattr(theirs, name))


def test_the_last_layer_agrees_with_itself_and_says_the_text(trace):
    for text in trace.texts:
        assert text.agreement[-1].all()
        assert text.confidence.min() >= 0
        assert text.confidence.max() <= 1
        last = text.best[-1, text.prompt_length - 1 - text.first :, 0]
        assert last.tolist() == text.tokens[text.prompt_length :].tolist()


@pytest.mark.parametrize("costs", [COSTS, LONG])
def test_no_method_beats_the_oracle(trace, costs):
    best = oracle(trace, costs)
    plain = replay_all(Replaying(trace, costs, None), "vanilla").tokens_per_second
    assert best["both all"] >= best["exits all"] >= 1.0
    for method in ("layerskip:exit_layer=3,speculation_length=3", "auto"):
        assert (
            replay_all(Replaying(trace, costs, None), method).tokens_per_second / plain
            <= best["both all"]
        )


def test_a_pass_takes_what_its_context_costs(trace):
    text = trace.texts[0]
    made = replay(Replaying(trace, LONG, None), text, make_controller("vanilla"))
    steps = range(text.prompt_length + 1, text.prompt_length + text.generated)
    depth = trace.info.num_layers
    expected = sum(LONG.at(context).verify(depth)[1] for context in steps)
    assert made.decode_seconds == pytest.approx(expected)
    assert expected > 1.5 * len(steps) * LONG.verify(depth)[1]


def test_a_trimmed_head_that_was_not_recorded_is_refused(trace):
    with pytest.raises(DynexitError, match="--draft-vocabulary 100"):
        replay_all(Replaying(trace, COSTS, None), "layerskip:draft_vocabulary=100")


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", None])
def test_a_file_that_is_no_trace_is_told(tmp_path: Path, content):
    file = tmp_path / "x.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DynexitError, match="trace"):
        load_trace(file)


def tiny_trace(file: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """A trace of one text, of two layers, as it lies in a file: arrays, and the header."""
    read = np.zeros((2, 4, 8), np.int32), np.full((2, 4, 8), 0.1, np.float32)
    text = TracedText("a-1", 2, 0, np.zeros(5, np.int32), *read, *read)
    Trace(TraceInfo("m", 2, 9, 99, 9, (3,)), [text]).save(file)
    with safe_open(file, "np") as stored:
        return load_file(file), stored.metadata()


def info(**changes: object) -> tuple[dict[str, object], dict[str, str]]:
    """A change of what the header says of the model."""
    told = {"model": "m", "num_layers": 2, "vocab_size": 9, "max_positions": 99}
    return {}, {"info": json.dumps({**told, "draft_vocabulary": 9, "eos": [3], **changes})}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (info(num_layers="2"), "info.num_layers is '2'"),
        (info(num_layers=3), "best of a-1 has the shape"),
        (info(num_layers=0), "a size that no model has"),
        (info(eos=3), "info.eos is 3"),
        (info(vocab_size=3, draft_vocabulary=9), "beyond the vocabulary"),
        (info(extra=1), "unknown 'extra'"),
        (info(max_positions=2), "lengths that do not fit"),
        (({}, {"info": "[1"}), "is not JSON"),
        (({}, {"info": "[1]"}), r"info is \[1\]"),
        (({}, {"texts": "3"}), "not iterable"),
        (({}, {"texts": '{"a": 1}'}), "not enough values"),
        (({}, {"texts": '[["a-1", "2", 0]]'}), "prompt_length is '2'"),
        (({}, {"texts": '[["a-1", 2, -1]]'}), "has the shape"),
        (({}, {"texts": '[["a-1", 5, 0]]'}), "lengths that do not fit"),
        (({}, {"texts": '[["a-1", 2, 0], ["a-2", 2, 0]]'}), "1.tokens"),
        (({"0.best": np.zeros((2, 3, 8), np.int32)}, {}), "best of a-1 has the shape"),
        (({"0.tokens": np.zeros(5, np.float32)}, {}), "tokens of a-1 is of type float32"),
        (({"0.tokens": np.full(5, 9, np.int32)}, {}), "tokens of a-1 has a number out of range"),
        (({"0.tokens": np.full(5, -1, np.int32)}, {}), "tokens of a-1 has a number out of range"),
        (({"0.confidence": np.full((2, 4, 8), np.nan, np.float32)}, {}), "confidence of a-1 has"),
    ],
)
def test_an_edited_trace_is_one_sentence(tmp_path: Path, change, told):
    file = tmp_path / "x.safetensors"
    arrays, header = tiny_trace(file)
    assert len(load_trace(file).texts) == 1
    save_file(arrays | change[0], file, header | change[1])
    with pytest.raises(DynexitError, match=rf"x.safetensors cannot be read as a trace: .*{told}"):
        load_trace(file)


def test_edited_costs_are_one_sentence(dynexit, tmp_path: Path):
    file, cost = tmp_path / "x.safetensors", tmp_path / "cost.json"
    tiny_trace(file)
    cost.write_text(json.dumps(COSTS.as_dict() | {"layer": "fast"}))
    code, _, err = dynexit("replay", file, "--cost", cost)
    assert code == 2
    assert f"--cost {cost} holds no costs: it.layer is 'fast': it must be a list" in err


def test_the_commands_work_together(dynexit, tmp_path: Path):
    prompts = tmp_path / "mine.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in PROMPTS[:2]))
    file, cost = tmp_path / "t.safetensors", tmp_path / "cost.json"
    task = f"jsonl:{prompts}"
    code, _, err = dynexit("trace", "--task", task, "-n", 24, "--out", file)
    assert (code, file.is_file()) == (0, True), err
    code, out, err = dynexit("replay", file, "--method", "del", "--save-cost", cost, "--json")
    assert code == 0, err
    assert {m["method"] for m in json.loads(out)["methods"]} == {"vanilla", "del"}
    code, out, _ = dynexit("replay", file, "--cost", cost)
    assert code == 0
    assert "auto" in out
    assert "oracle" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("trace", "--out", "x.bin"), ".safetensors"),
        (("trace", "--out", "no/such/folder/x.safetensors"), "does not exist"),
        (("replay", "nowhere.safetensors"), "nowhere.safetensors"),
    ],
)
def test_bad_input_is_one_sentence(dynexit, arguments, told):
    code, _, err = dynexit(*arguments)
    assert code == 2
    assert told in err
