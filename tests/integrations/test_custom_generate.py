"""The folder that a checkpoint's repository ships, as transformers reads it."""

import shutil

import pytest
import torch
from loaded_models import loaded, prompt
from transformers import AutoModelForCausalLM, AutoTokenizer

from dynexit.model.places import BUNDLED

OPTIONS = {"max_new_tokens": 24, "do_sample": False}


@pytest.fixture
def repository(tmp_path, dynexit, monkeypatch):
    """A checkpoint's folder with `custom_generate`; what transformers caches of it goes away."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    folder = tmp_path / "checkpoint"
    loaded("llama").save_pretrained(folder)
    code, out, _ = dynexit("export-custom-generate", folder)
    assert code == 0
    assert out.split() == [
        str(folder / "custom_generate" / name) for name in ("generate.py", "requirements.txt")
    ]
    return folder


def test_any_model_may_borrow_it(repository):
    model = loaded("qwen2")
    plain = model.generate(prompt(), **OPTIONS)
    borrowed = {"custom_generate": str(repository), "trust_remote_code": True}
    made = model.generate(
        prompt(), method="del:analysis=full", return_dict_in_generate=True, **borrowed, **OPTIONS
    )
    assert made.sequences.tolist() == plain.tolist()
    assert made.statistics[0].drafted > 0


def test_a_model_loaded_from_there_uses_it(repository):
    model = AutoModelForCausalLM.from_pretrained(repository, trust_remote_code=True)
    plain = AutoModelForCausalLM.from_pretrained(repository).generate(prompt(), **OPTIONS)
    made = model.generate(
        prompt(), method="layerskip:exit_layer=2", return_dict_in_generate=True, **OPTIONS
    )
    assert made.sequences.tolist() == plain.tolist()
    assert made.statistics[0].drafted > 0


def test_stop_strings_reach_it(repository):
    shutil.copy(BUNDLED / "tokenizer.json", repository)
    shutil.copy(BUNDLED / "tokenizer_config.json", repository)
    tokenizer = AutoTokenizer.from_pretrained(repository)
    model = AutoModelForCausalLM.from_pretrained(BUNDLED, dtype=torch.float32)
    inputs = tokenizer("Question: Tom has 3 boxes of 4 pens.", return_tensors="pt")
    stop = {"stop_strings": ["swer: "], "tokenizer": tokenizer, "max_new_tokens": 40}
    plain = model.generate(inputs.input_ids, do_sample=False, **stop)
    borrowed = {"custom_generate": str(repository), "trust_remote_code": True}
    made = model.generate(inputs.input_ids, do_sample=False, **borrowed, **stop)
    assert made.tolist() == plain.tolist()
    assert made.shape[1] < inputs.input_ids.shape[1] + 40


def test_other_code_is_never_overwritten(repository, dynexit):
    assert dynexit("export-custom-generate", repository)[0] == 0
    (repository / "custom_generate" / "generate.py").write_text("# mine\n")
    code, _, err = dynexit("export-custom-generate", repository)
    assert code == 2
    assert "remove it first" in err
    assert dynexit("export-custom-generate", repository / "nothing")[0] == 2


def test_a_folder_without_a_checkpoint_is_refused(tmp_path, dynexit):
    code, out, err = dynexit("export-custom-generate", tmp_path)
    assert (code, out) == (2, "")
    assert "has no config.json" in err
    assert not list(tmp_path.iterdir())
