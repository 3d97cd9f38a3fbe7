"""A whole run on real text: the package's own source."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
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


def trainer(folder: Path, out: Path, device: str = "cpu", **changes: object) -> Trainer:
    return Trainer(load_recipe(write_recipe(folder, **changes)), SOURCE, out, torch.device(device))


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


@pytest.mark.gpu
def test_on_cuda_a_run_learns_what_it_learns_on_a_cpu(tmp_path: Path) -> None:
    """Continued, too, from a state that was written there; in bf16 on one side at least."""
    seen: dict[str, list[Progress]] = {"cpu": [], "cuda": []}
    for device, progress in seen.items():
        begun = trainer(tmp_path, tmp_path / device, device)
        progress_of_begun = progress.append
        begun.run(lambda state, keep=progress_of_begun, run=begun: (keep(state), run.stop()))
        trainer(tmp_path, tmp_path / device, device).run(progress_of_begun)
    losses = {device: [state.loss for state in states] for device, states in seen.items()}
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=0.05)
    assert losses["cuda"][-1] < losses["cuda"][0] - 0.3
    lm = dynexit.load(tmp_path / "cuda", "bf16", "cuda", check=False)
    assert len(lm.generate("def draft(self", "del", max_new_tokens=12).token_ids) == 12


def poisoned(run: Trainer, step: int) -> Trainer:
    """The same run, in whose step a weight becomes infinite: its loss is not a number."""
    own = run._train_step

    def train_step() -> float:
        if run.step == step:
            with torch.no_grad():
                run.model.embedding.weight[:] = float("inf")
        return own()

    run._train_step = train_step  # type: ignore[method-assign]
    return run


def test_a_loss_that_is_not_a_number_ends_the_run_and_spoils_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(DynexitError, match=r"loss of step 4 .* not a number.*training.pt keeps"):
        poisoned(trainer(tmp_path, out, checkpoint_minutes=0.0), 3).run(lambda _: None)
    assert not (out / "model.safetensors").exists()
    again = trainer(tmp_path, out)
    assert again.step == 3
    assert all(p.isfinite().all() for p in again.model.parameters())


def test_weights_that_are_not_numbers_are_not_kept(tmp_path: Path) -> None:
    run = trainer(tmp_path, tmp_path / "run")
    with torch.no_grad():
        run.model.layer(1).down.weight[0, 0] = float("nan")
    with pytest.raises(DynexitError, match="a weight after step 0 is not a number"):
        run._save_state()
    assert not (tmp_path / "run" / "training.pt").exists()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The state of a run that has not begun."""
    folder = tmp_path_factory.mktemp("state")
    trainer(folder, folder / "run")._save_state()
    return (folder / "run" / "training.pt").read_bytes()


def altered(state: bytes, change: Callable[[dict], object]) -> bytes:
    """The state's file after a change of what it holds."""
    held = torch.load(io.BytesIO(state))
    change(held)
    changed = io.BytesIO()
    torch.save(held, changed)
    return changed.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: b"",
        lambda state: b"dear diary",
        lambda state: state[: len(state) // 2],
        lambda state: altered(state, lambda held: held.pop("model")),
        lambda state: altered(state, lambda held: held.pop("mixture")),
        lambda state: altered(state, lambda held: held.update(recipe=3)),
        lambda state: altered(state, lambda held: held.update(step="4")),
        lambda state: altered(state, lambda held: held["optimisers"].pop()),
        lambda state: altered(state, lambda held: held["mixture"].update(streams=[1, 2])),
        lambda state: altered(state, lambda held: held["model"].popitem()),
        lambda state: altered(
            state, lambda held: held["model"]["embedding.weight"].fill_(float("nan"))
        ),
    ],
)
def test_a_damaged_state_is_one_sentence(
    tmp_path: Path, state: bytes, damage: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / "training.pt"
    file.write_bytes(damage(state))
    with pytest.raises(
        DynexitError, match=r"training.pt cannot be continued \(.+\): delete"
    ) as told:
        trainer(tmp_path, tmp_path / "run")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_the_step_and_the_same_command_goes_on(
    tmp_path: Path, dynexit, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    own, default = Trainer._train_step, signal.getsignal(number)

    def train_step(self: Trainer) -> float:
        if self.step == 3:
            os.kill(os.getpid(), number)
        return own(self)

    command = ("train", write_recipe(tmp_path), "--data-dir", SOURCE, "--out", tmp_path / "run")
    signal.signal(number, signal.default_int_handler)  # whatever a shell has told us to ignore
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_train_step", train_step)
            code, _, err = dynexit(*command)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, default)
    assert code == 128 + number
    assert "step 4 of 10 is kept" in err
    assert "the same command continues" in err
    assert trainer(tmp_path, tmp_path / "run").step == 4
    assert dynexit(*command)[0] == 0
    trainer(tmp_path, tmp_path / "whole").run(lambda _: None)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_text_shorter_than_a_window_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    domain = {"name": "d", "kind": "text", "paths": ["*.txt"], "weight": 1.0}
    recipe = write_recipe(tmp_path, domains=[{**domain, "held_out_paths": ["b.txt"]}])
    with pytest.raises(
        DynexitError, match=r"domain 'd' has \d+ tokens, fewer than one window of 65"
    ):
        Trainer(load_recipe(recipe), tmp_path, tmp_path / "run", torch.device("cpu"))


def test_another_recipe_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, tmp_path / "run").run(lambda _: None)
    with pytest.raises(DynexitError, match="a different recipe"):
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
        ({"vocabulary": 3}, "recipe has an unknown 'vocabulary'"),
        ({"domains": []}, "domains"),
        ({"shape": {"num_layers": "many"}}, "recipe.shape.num_layers"),
        ({"early_exit": {"curriculum": "random"}}, "it must be 'rotational' or 'gradual'"),
        ({"optimisation": {"batch_windows": 3, "micro_windows": 2}}, "multiple"),
        ({"optimisation": {"micro_windows": 0}}, "micro_windows is 0: it must be 1 or more"),
        (
            {"optimisation": {"matrix_rate": float("nan")}},
            "matrix_rate is nan: it must be a finite num",
        ),
        ({"shape": {"num_layers": True}}, "num_layers is True: it must be a whole number"),
        ({"evaluate_every": 0}, "evaluate_every is 0"),
        ({"seed": -1}, "seed is -1: it must be 0 or more"),
        ({"domains": 3}, "recipe.domains is 3: it must be a list"),
        ({"domains": [3]}, r"recipe.domains\[0\] is 3"),
        ({"domains": [{**RECIPE["domains"][0], "paths": [3]}]}, r"paths is \[3\]: .* each text"),
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
    with pytest.raises(DynexitError, match="has an unknown 'loss'"):
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
