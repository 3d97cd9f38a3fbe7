"""Replay against real runs: the same rounds, and what a damaged file is told."""

import json
from pathlib import Path

import numpy as np
import pytest

from dynexit import DynexitError, load
from dynexit.costs.table import Costs
from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.records import Plan
from dynexit.methods import make_controller
from dynexit.replay.oracle import oracle
from dynexit.replay.recording import record_text, trace_info
from dynexit.replay.running import replay, replay_all
from dynexit.replay.trace import Trace, load_trace

COSTS = Costs((1, 4, 8), (1e-4, 1.2e-4, 2e-4), (3e-4, 3e-4, 4e-4), (1e-5,) * 3, 8e-5, 0, 1e-4, 8192)
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
    "del-e",
    "del:exit_layer=5,threshold=false",
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
        played = replay(trace.info, text, make_controller(method), COSTS)
        for field in ("drafted", "accepted", "tokens"):
            told = [getattr(r, field) for r in played.rounds]
            assert told == [getattr(r, field) for r in real.stats.rounds], field


class Leafy(Controller):
    """Drafts the second choice beside every token."""

    def plan(self) -> Plan:
        odds = (1.0,) * 10
        return Plan(4, 4, odds=odds, leaf_odds=odds, leaf_floor=1.0)


def test_replay_accepts_the_leaves_that_a_real_run_accepts(lm, trace):
    leaves = 0
    for text, prompt in zip(trace.texts, PROMPTS, strict=True):
        real = lm.generate(prompt, Leafy(), max_new_tokens=text.generated)
        played = replay(trace.info, text, Leafy(), COSTS)
        for field in ("drafted", "accepted", "tokens", "leaf_places", "leaf_accepted"):
            told = [getattr(r, field) for r in played.rounds]
            assert told == [getattr(r, field) for r in real.stats.rounds], field
        leaves += sum(r.leaf_accepted for r in played.rounds)
    assert leaves


def test_a_threshold_ends_drafts_alike_up_to_a_mismatch(lm, trace):
    for text, prompt in zip(trace.texts, PROMPTS, strict=True):
        real = lm.generate(prompt, "draft-verify:exit_layer=4", max_new_tokens=text.generated)
        played = replay(trace.info, text, make_controller("draft-verify:exit_layer=4"), COSTS)
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


def test_no_method_beats_the_oracle(trace):
    best = oracle(trace, COSTS)
    plain = replay_all(trace, "vanilla", COSTS).tokens_per_second
    assert best["both all"] >= best["exits all"] >= 1.0
    for method in ("layerskip:exit_layer=3,speculation_length=3", "auto"):
        assert replay_all(trace, method, COSTS).tokens_per_second / plain <= best["both all"]


def test_a_trimmed_head_that_was_not_recorded_is_refused(trace):
    with pytest.raises(DynexitError, match="--draft-vocabulary 100"):
        replay_all(trace, "layerskip:draft_vocabulary=100", COSTS)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", None])
def test_a_file_that_is_no_trace_is_told(tmp_path: Path, content):
    file = tmp_path / "x.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DynexitError, match="trace"):
        load_trace(file)


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
        (("trace", "--out", "no/such/folder/x.safetensors"), "no folder"),
        (("replay", "nowhere.safetensors"), "nowhere.safetensors"),
    ],
)
def test_bad_input_is_one_sentence(dynexit, arguments, told):
    code, _, err = dynexit(*arguments)
    assert code == 2
    assert told in err
