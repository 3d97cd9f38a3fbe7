"""Low-rank differences: what is learned, what stays as it was, and what PEFT is given to read."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_trainer import SOURCE, trainer, write_recipe

from dynexit.errors import DynexitError
from dynexit.model.loading import load_model, load_shape
from dynexit.model.saving import save_checkpoint
from dynexit.model.transformer import Transformer
from dynexit.model.weights import weight_map
from dynexit.training.recipe import load_recipe
from dynexit.training.trainer import Progress, Trainer

RANKS = {"rank": 2, "early_rank": 4, "early_layers": 1}
LEARNED = {"teacher": "start", "distill": 1.0, "rotation": 1, "dropout_max": 0.0}


def weights(folder: Path) -> Transformer:
    return load_model(folder, load_shape(folder), torch.float32, torch.device("cpu"))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    run = trainer(folder, folder / "run")
    run.run(lambda _: None)
    with torch.no_grad():  # so that it is sure of what it says, and its exits of something else
        for parameter in run.model.parameters():
            parameter *= 4 if parameter.ndim == 2 else 1
    save_checkpoint(run.model, folder / "run", torch.bfloat16, eos=run.end)
    return folder / "run"


def adapted(folder: Path, start: Path, **changes: object) -> Trainer:
    given = {"start_from": str(start), "adapter": RANKS, "early_exit": LEARNED, **changes}
    return trainer(folder, folder / "run", **given)


def test_the_difference_that_is_written_is_what_the_checkpoint_has_learned(
    tmp_path: Path, start: Path
) -> None:
    seen: list[Progress] = []
    adapted(tmp_path, start).run(seen.append)
    before, after = weights(start).state_dict(), weights(tmp_path / "run").state_dict()
    written = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    told = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert told["peft_type"] == "LORA"
    changed = 0
    for name, parts in weight_map(load_shape(start)).items():
        for part in parts:
            own = f"base_model.model.{part.name.removesuffix('.weight')}"
            rows = slice(part.start, part.stop)
            difference = after[name][rows] - before[name][rows]
            if (down := written.get(f"{own}.lora_A.weight")) is None:
                assert not difference.any()
                continue
            up = written[f"{own}.lora_B.weight"]
            assert down.shape[0] == told["rank_pattern"][part.name.removesuffix(".weight")]
            assert torch.allclose(up.float() @ down.float(), difference, atol=4e-3)
            changed += bool(difference.any())
    assert changed == 4 * 7  # of each layer


def test_peft_adds_the_difference_to_the_original(tmp_path: Path, start: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapted(tmp_path, start).run(lambda _: None)

    def read(folder: Path) -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    theirs = PeftModel.from_pretrained(read(start), tmp_path / "run" / "adapter")
    tokens = torch.arange(40)[None]
    with torch.no_grad():
        said = [model(tokens).logits for model in (read(tmp_path / "run"), theirs, read(start))]
    assert (said[0] - said[1]).norm() < 0.1 * (said[0] - said[2]).norm()


def test_exits_learn_the_original_and_the_last_layer_stays_near_it(
    tmp_path: Path, start: Path
) -> None:
    run = adapted(tmp_path, start, optimisation={**_steps(40), "other_rate": 0.02})
    tokens = torch.from_numpy(run.mixture.batch(4, 65)).long()
    with torch.no_grad():
        first = run.objective(tokens, 0, 0.0)
    run.run(lambda _: None)
    last = Trainer(run.recipe, SOURCE, tmp_path / "run", torch.device("cpu"))
    with torch.no_grad():
        ended = last.objective(tokens, 0, 1.0)
    entropy = first.last  # of what is taught: the least that a loss can be
    assert ended.total - entropy < 0.3 * (first.total - entropy)
    assert ended.last - entropy < 0.3 * (first.total - entropy)


def _steps(count: int) -> dict[str, int]:
    return {"tokens": count * 256, "window": 64, "batch_windows": 4, "micro_windows": 4}


def test_a_stopped_run_goes_on(tmp_path: Path, start: Path) -> None:
    once = adapted(tmp_path, start)
    once.run(lambda told: once.stop() if told.step == 3 else None)
    again = adapted(tmp_path, start)
    assert again.step == 3
    assert again.run(lambda _: None) is not None


@pytest.mark.parametrize(
    "changes", [{"adapter": {"rank": 2}}, {"early_exit": {"teacher": "start"}}]
)
def test_both_need_a_model_to_start_from(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(DynexitError, match="need start_from"):
        load_recipe(write_recipe(tmp_path, **changes))


def test_the_recipe_of_the_chat_model_is_read() -> None:
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "smollm2_layerskip.yaml")
    ranks = [recipe.adapter.rank_of(layer) for layer in range(30)]
    assert ranks == [56] * 8 + [14] * 22
