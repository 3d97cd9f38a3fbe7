"""A masked-diffusion model on the command line: it drafts, and nothing else."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from dynexit.model.loading import load_eos, load_model, load_shape
from dynexit.model.saving import save_checkpoint
from dynexit.training.masked_diffusion import to_diffusion


@pytest.fixture(scope="module")
def draft_model(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of the tiny model, with its tokenizer, and not trained."""
    folder = tmp_path_factory.mktemp("diffusion") / "small"
    causal = load_model(checkpoint, load_shape(checkpoint), torch.float32, torch.device("cpu"))
    save_checkpoint(to_diffusion(causal, 2), folder, torch.float32, min(load_eos(checkpoint)))
    for file in checkpoint.glob("tokenizer*"):
        shutil.copy(file, folder)
    return folder


@pytest.mark.parametrize("kind", ["diffusion", "causal"])
def test_compare_runs_the_methods_of_the_draft_models_kind(
    dynexit, checkpoint: Path, draft_model: Path, kind: str
) -> None:
    second = draft_model if kind == "diffusion" else checkpoint
    line = ("generate", "Hi", "-m", checkpoint, "-n", 12, "--compare", "--draft-model", second)
    code, out, _ = dynexit(*line, "--json")
    assert code == 0
    rows = json.loads(out)["methods"]
    assert ("diffuspec" in rows) == (kind == "diffusion")
    assert ("two-model" in rows) == (kind == "causal")
    assert all(row["identical"] for row in rows.values())


def test_it_drafts_in_a_benchmark(
    dynexit, checkpoint: Path, draft_model: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "Hello there"}\n')
    line = ("bench", "-m", checkpoint, "--draft-model", draft_model, "--method", "diffuspec")
    out = tmp_path / "run.jsonl"
    code, _, err = dynexit(*line, "-t", f"jsonl:{rows}", "-n", 12, "--num-samples", 1, "--out", out)
    assert code == 0, err
    records = [json.loads(one) for one in out.read_text().splitlines()]
    assert {one["method"] for one in records if "method" in one} == {"vanilla", "diffuspec"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["generate", "Hi", "-m", "{it}"], "is a masked-diffusion model, which writes no text"),
        (["info", "{it}"], "is a masked-diffusion model, which writes no text"),
        (["perplexity", "{it}", "{text}"], "is a masked-diffusion model"),
        (["quantize", "{it}", "{out}", "--type", "q4_1"], "which is not quantised here"),
        (["generate", "Hi", "--method", "diffuspec"], "give --draft-model"),
        (
            ["generate", "Hi", "--method", "diffuspec", "--draft-model", "bundled"],
            "is not a masked-diffusion model",
        ),
        (
            ["generate", "Hi", "-m", "{target}", "--draft-model", "{it}", "--method", "two-model"],
            "use method diffuspec",
        ),
        (
            ["generate", "Hi", "--draft-model", "{it}", "--method", "diffuspec"],
            "a draft model needs the same vocabulary",
        ),
    ],
)
def test_what_it_cannot_do_is_one_sentence(
    dynexit, checkpoint: Path, draft_model: Path, tmp_path: Path, line: list[str], said: str
) -> None:
    text = tmp_path / "text"
    text.write_text("Hello")
    named = {"it": draft_model, "target": checkpoint, "text": text, "out": tmp_path / "x.gguf"}
    code, out, err = dynexit(*(word.format(**named) for word in line))
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "x.gguf").exists()
