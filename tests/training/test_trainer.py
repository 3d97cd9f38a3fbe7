"""A whole run on real text: the package's own source."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import dynexit
from dynexit.errors import DynexitError
from dynexit.training.recipe import load_recipe
from dynexit.training.trainer import Progress, Trainer

SOURCE = Path(dynexit.__file__).parent
RECIPE = {
    "vocab_size": 400,
    "domains": [
        {"name": "code", "kind": "text", "paths": ["decoding/*.py"], "weight": 1.0,
         "held_out_paths": ["decoding/text.py"]},
        {"name": "model", "kind": "text", "paths": ["model/*.py"], "weight": 0.5,
         "held_out_documents": 1},
    ],
    "shape": {"hidden_size": 32, "intermediate_size": 64, "num_layers": 4, "num_heads": 2,
              "num_kv_heads": 1, "head_dim": 16, "max_positions": 128},
    "early_exit": {"rotation": 2, "distill": 0.5},
    "optimisation": {"tokens": 5120, "window": 64, "batch_windows": 8, "micro_windows": 4},
    "evaluate_every": 5,
}  # fmt: skip


def write_recipe(folder: Path, **changes: object) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump({**RECIPE, **changes}))
    return file


def trainer(folder: Path, out: Path, **changes: object) -> Trainer:
    return Trainer(load_recipe(write_recipe(folder, **changes)), SOURCE, out, torch.device("cpu"))


def test_a_run_learns_and_writes_a_checkpoint_that_transformers_runs_alike(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    seen: list[Progress] = []
    out = tmp_path / "run"
    trainer(tmp_path, out).run(seen.append)
    assert seen[-1].loss < seen[0].loss - 0.3
    assert any(state.reports for state in seen)
    lm = dynexit.load(out, dtype="fp32", check=False)
    theirs = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(out)
    prompt = "def draft(self, plan):\n    return"
    ids = tokenizer(prompt, return_tensors="pt")
    expected = theirs.generate(**ids, max_new_tokens=24, do_sample=False)[
        0, ids.input_ids.shape[1] :
    ]
    assert lm.generate(prompt, "del", max_new_tokens=24).token_ids == expected.tolist()
    assert "exit layer" in (out / "README.md").read_text()


def test_a_killed_run_continues_with_the_batch_it_had_not_finished(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    trainer(tmp_path, whole).run(lambda _: None)

    class KilledError(Exception):
        pass

    def kill(state: Progress) -> None:
        if state.step == 4:
            raise KilledError

    with pytest.raises(KilledError):
        trainer(tmp_path, cut, checkpoint_minutes=0.0).run(kill)
    resumed = trainer(tmp_path, cut, checkpoint_minutes=0.0)
    assert resumed.step == 3  # step 4 was killed before its state was written
    resumed.run(lambda _: None)
    first, second = (load_file(folder / "model.safetensors") for folder in (whole, cut))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_another_recipe_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, tmp_path / "run").run(lambda _: None)
    with pytest.raises(DynexitError, match="another recipe"):
        trainer(tmp_path, tmp_path / "run", seed=7)


def test_training_continues_from_a_checkpoint(tmp_path: Path) -> None:
    trainer(tmp_path, tmp_path / "first").run(lambda _: None)
    more = trainer(tmp_path, tmp_path / "second", start_from=str(tmp_path / "first"))
    before = more.model.layer(0).down.weight.clone()
    more.run(lambda _: None)
    assert not torch.equal(before, more.model.layer(0).down.weight)
    assert dynexit.load(tmp_path / "second", check=False).tokenizer is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": 3}, "unknown setting 'vocabulary'"),
        ({"domains": []}, "domains"),
        ({"shape": {"num_layers": "many"}}, "recipe.shape.num_layers"),
        ({"early_exit": {"curriculum": "random"}}, "none of rotational, gradual"),
        ({"optimisation": {"batch_windows": 3, "micro_windows": 2}}, "multiple"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(DynexitError, match=message):
        load_recipe(write_recipe(tmp_path, **changes))


def test_settings_can_be_changed_without_another_file(tmp_path: Path) -> None:
    file = write_recipe(tmp_path)
    recipe = load_recipe(file, {"early_exit.loss_scale": 0, "seed": 3, "optimisation.window": 32})
    assert (recipe.early_exit.loss_scale, recipe.seed, recipe.optimisation.window) == (0, 3, 32)
    assert recipe.early_exit.rotation == 2
    with pytest.raises(DynexitError, match="unknown setting 'loss'"):
        load_recipe(file, {"early_exit.loss": 0})
    with pytest.raises(DynexitError, match=r"recipe\.seed"):
        load_recipe(file, {"seed.deeper": 0})


def test_missing_text_is_refused(tmp_path: Path) -> None:
    domains = [{"name": "d", "kind": "text", "paths": ["nothing/*.txt"], "weight": 1.0}]
    with pytest.raises(DynexitError, match="no file matches"):
        trainer(tmp_path, tmp_path / "run", domains=domains)
    assert not (tmp_path / "run").exists()


def test_the_command_trains(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    command = [sys.executable, "-m", "dynexit", "train", str(recipe), "--data-dir", str(SOURCE)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "run")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "bits per byte" in done.stdout
    assert (tmp_path / "run" / "model.safetensors").exists()
