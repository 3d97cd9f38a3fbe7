"""The real evaluation harness on real tasks from local files: ours against its own HF model."""

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

pytest.importorskip("lm_eval", reason="the extra dynexit[lm-eval] is not installed")

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

from dynexit import DynexitError
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
