"""The real evaluation harness on real tasks from local files: ours against its own HF model."""

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
import torch

pytest.importorskip("lm_eval", reason="the extra dynexit[lm-eval] is not installed")

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM

from dynexit import DynexitError
from dynexit.decoding.prefilling import PREFILL_ROWS
from dynexit.integrations.lm_eval import DynexitLM, register
from dynexit.methods import DEFAULT_METHOD

LINES = [
    {"question": "Two and two?", "answer": "four", "wrong": "nine"},
    {"question": "The colour of snow?", "answer": "white", "wrong": "black"},
    {
        "question": "What do hens lay, every day of the week but one?",
        "answer": "eggs",
        "wrong": "no",
    },
]
COMMON = """
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
"""
TASKS = {
    "writes": """
output_type: generate_until
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: 12, do_sample: false}
metric_list: [{metric: exact_match}]
""",
    "chooses": """
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{[answer, wrong]}}"
doc_to_target: 0
metric_list: [{metric: acc}]
""",
    "scores": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}} {{answer}} {{question}} {{answer}}"
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
""",
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """A folder of three tasks."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    for name, text in TASKS.items():
        common = COMMON.replace("FILE", str(rows))
        (folder / f"{name}.yaml").write_text(f"task: dynexit_{name}\n{common}{text}")
    return folder


def evaluate(model, arguments, tasks):
    """Metrics and responses of all three tasks."""
    found = lm_eval.simple_evaluate(
        model,
        arguments,
        tasks=[f"dynexit_{name}" for name in TASKS],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        batch_size=1,
        bootstrap_iters=0,
        log_samples=True,
    )
    return found["results"], found["samples"]


def responses(samples, task):
    """What the model said to every document: texts, or log-probabilities and greediness."""
    return [sample["resps"] for sample in samples[f"dynexit_{task}"]]


def flattened(value):
    """The numbers and texts of nested lists, in order."""
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in flattened(part)]
    return [value]


def test_ours_says_what_the_harness_hears_from_transformers(checkpoint, tasks):
    register()
    _, theirs = evaluate("hf", f"pretrained={checkpoint},dtype=float32,device=cpu", tasks)
    metrics, ours = evaluate("dynexit", f"pretrained={checkpoint},dtype=fp32,method=del", tasks)
    assert responses(ours, "writes") == responses(theirs, "writes")
    for task in ("chooses", "scores"):
        pairs = zip(
            flattened(responses(ours, task)), flattened(responses(theirs, task)), strict=True
        )
        for mine, other in pairs:
            assert float(mine) == pytest.approx(float(other), abs=2e-3)
    assert metrics["dynexit_scores"]["bits_per_byte,none"] > 0


@pytest.mark.slow
def test_the_command_line_runs_it(checkpoint, tasks, tmp_path):
    command = [sys.executable, "-m", "dynexit.integrations.lm_eval", "run", "--model", "dynexit"]
    command += ["--model_args", f"pretrained={checkpoint},method=layerskip,exit_layer=3,dtype=fp32"]
    command += ["--tasks", "dynexit_writes", "--include_path", str(tasks)]
    command += ["--output_path", str(tmp_path)]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "exact_match" in done.stdout
    assert list(tmp_path.rglob("results*.json"))


def test_the_entry_point_names_the_class():
    (found,) = [e for e in entry_points(group="lm_eval.models") if e.name == "dynexit"]
    assert found.load() is DynexitLM


@pytest.fixture(scope="module")
def model(checkpoint):
    return DynexitLM(str(checkpoint), dtype="fp32", method="layerskip", exit_layer=3)


def test_the_method_is_the_packages_own_where_none_is_named(checkpoint, model):
    wanted = request("generate_until", "Hello", {"until": [], "max_gen_toks": 12})
    unnamed = DynexitLM(str(checkpoint), dtype="fp32")
    assert unnamed._method == DEFAULT_METHOD
    assert unnamed.generate_until([wanted], True) == model.generate_until([wanted], True)


def request(kind, *arguments):
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


def theirs_says(checkpoint, ids, count, layers=None):
    """By transformers, of the first layers or all: log-probability of the last `count` ids."""
    theirs = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    theirs.model.layers = theirs.model.layers[:layers]
    logits = theirs(torch.tensor([ids[:-1]]), use_cache=False).logits[0, -count:].detach()
    wanted = torch.tensor(ids[-count:])
    picked = logits.log_softmax(-1).gather(-1, wanted[:, None])
    return float(picked.sum()), bool((logits.argmax(-1) == wanted).all())


PAIR = ("Question: Tom has 3 boxes of 4 pens.", " Answer: 12 pens")


@pytest.mark.parametrize("layers", [1, 3])
def test_an_early_exit_is_scored_by_its_own_layers(checkpoint, model, layers):
    early = DynexitLM(str(checkpoint), dtype="fp32", method=f"early-exit:exit_layer={layers}")
    (scored,) = early.loglikelihood([request("loglikelihood", *PAIR)], True)
    ids, context = early.tok_encode("".join(PAIR)), early.tok_encode(PAIR[0])
    wanted = theirs_says(checkpoint, ids, len(ids) - len(context), layers)
    assert scored == (pytest.approx(wanted[0], abs=2e-3), wanted[1])
    (whole,) = model.loglikelihood([request("loglikelihood", *PAIR)], True)
    assert abs(whole[0] - scored[0]) > 0.1


def test_scores_hold_the_logits_of_one_slice(checkpoint, model, monkeypatch):
    context, said = list(range(5, 5 + 100)), [3 + 7 * i % 400 for i in range(2 * PREFILL_ROWS + 9)]
    unembed, rows = type(model._lm.model).unembed, []

    def counted(self, hidden, limit=None):
        rows.append(len(hidden))
        return unembed(self, hidden, limit)

    monkeypatch.setattr(type(model._lm.model), "unembed", counted)
    (scored,) = model._loglikelihood_tokens([(None, context, said)], True)
    wanted = theirs_says(checkpoint, [*context, *said], len(said))
    assert scored == (pytest.approx(wanted[0], rel=1e-5), wanted[1])
    assert sum(rows) == len(said)
    assert max(rows) == PREFILL_ROWS


@pytest.mark.parametrize("pair", [("Hello", ""), ("", "")])
def test_an_empty_continuation_is_refused(model, pair):
    with pytest.raises(DynexitError, match="continuation is empty"):
        model.loglikelihood([request("loglikelihood", *pair)], True)


def test_the_harness_s_usual_arguments(checkpoint, model):
    usual = "dtype=auto,trust_remote_code=false,max_length=64,use_fast_tokenizer=true,revision=main"
    usual += ",parallelize=false,peft=None,backend=causal,attn_implementation=sdpa,truncation=true"
    text = f"pretrained={checkpoint},method=layerskip,exit_layer=3,add_bos_token=false,{usual}"
    made = DynexitLM.create_from_arg_string(text, {"batch_size": "auto", "device": "cpu"})
    own = json.loads((checkpoint / "config.json").read_text())["dtype"]
    assert str(made._lm.model.dtype) == f"torch.{own}"
    assert made.max_length == 64
    long = [3 + 7 * i % 400 for i in range(100)]
    (cut,) = made._loglikelihood_tokens([(None, long[:90], long[90:])], True)
    (same,) = made._loglikelihood_tokens([(None, long[-65:-10], long[90:])], True)
    assert cut == same


def test_what_is_said_before_a_text(checkpoint, model):
    begun = DynexitLM(str(checkpoint), dtype="fp32", add_bos_token=True, prefix_token_id=7)
    assert begun.prefix_token_id == 7
    begin = begun.tokenizer.bos_token_id
    assert begin is None or begun.tok_encode("Hello")[0] == begin
    plain = DynexitLM(str(checkpoint), dtype="fp32", add_bos_token=False)
    assert plain.tok_encode("Hello") == plain.tok_encode("Hello", add_special_tokens=False)


REFUSED = {
    "trust_remote_code": True,
    "revision": "v2",
    "peft": "adapter",
    "parallelize": True,
    "think_end_token": "</think>",
}


@pytest.mark.parametrize("name", REFUSED)
def test_arguments_that_ask_for_more_are_refused_by_name(name):
    with pytest.raises(DynexitError, match=f"{name}=.* cannot be used"):
        DynexitLM("/nowhere", **{name: REFUSED[name]})


@pytest.mark.parametrize("length", [1, 10**6, "many"])
def test_a_length_past_the_context_is_refused(checkpoint, length):
    with pytest.raises(DynexitError, match=r"max_length is .* from 2 to"):
        DynexitLM(str(checkpoint), dtype="fp32", max_length=length)


def test_a_long_context_is_cut_from_the_left(model):
    wanted = {"until": [], "max_gen_toks": 5, "do_sample": False}
    (long,) = model.generate_until([request("generate_until", "a b " * 4_000, wanted)], True)
    assert long


def test_a_long_text_is_scored_in_windows(model):
    text = "hens lay eggs " * 400
    ids = model.tok_encode(text)
    assert len(ids) > model.max_length
    (total,) = model.loglikelihood_rolling([request("loglikelihood_rolling", text)], True)
    assert total < 0


def test_no_room_for_a_prompt_is_refused(model):
    wanted = {"until": [], "max_gen_toks": model.max_length}
    with pytest.raises(DynexitError, match="leaves no room"):
        model.generate_until([request("generate_until", "Hello", wanted)], True)


def test_an_unknown_setting_is_refused_before_anything_loads():
    with pytest.raises(DynexitError, match="no setting 'speed'"):
        DynexitLM("/nowhere", method="del", speed=3)
