"""What is saved is a checkpoint that transformers loads and runs as we do."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoints import VARIANTS, forward, random_model, read, tokens_for
from transformers import AutoModelForCausalLM

import dynexit
from dynexit.model.loading import load_shape
from dynexit.model.saving import save_checkpoint

CASES = [(family, variant) for family in VARIANTS for variant in VARIANTS[family]]


@pytest.mark.parametrize(("family", "variant"), CASES)
def test_transformers_runs_what_is_saved(write, tmp_path, family, variant):
    ours = read(write(family, variant))
    saved = tmp_path / "saved"
    save_checkpoint(ours, saved, torch.float32)
    theirs, info = AutoModelForCausalLM.from_pretrained(saved, output_loading_info=True)
    problems = [info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")]
    assert not any(problems), info
    assert theirs.dtype == torch.float32
    assert load_shape(saved) == ours.config
    tokens = tokens_for(30)
    with torch.inference_mode():
        difference = theirs(tokens[None]).logits[0] - forward(ours, tokens)
    assert difference.abs().max() <= 1e-4
    again = read(saved).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize("family", VARIANTS)
def test_greedy_text_equals_that_of_transformers(write, tmp_path, family):
    saved = tmp_path / "saved"
    save_checkpoint(read(write(family, next(iter(VARIANTS[family])))), saved, torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(saved)
    ours = dynexit.load(saved, dtype="fp32", device="cpu", check=False)
    for seed in range(2):
        prompt = tokens_for(9, seed)
        expected = theirs.generate(prompt[None], max_new_tokens=24, do_sample=False)[0, 9:]
        generated = ours.generate(prompt.tolist(), "vanilla", max_new_tokens=24)
        assert generated.token_ids == expected.tolist()
        assert len(set(generated.token_ids)) > 3, "a text too dull to compare"


def test_written_in_the_dtype_asked_for_with_its_special_tokens(write, tmp_path):
    ours, saved = read(write()), tmp_path / "deep" / "saved"
    save_checkpoint(ours, saved, torch.bfloat16, eos=5, bos=4)
    tensors = load_file(saved / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    config = json.loads((saved / "config.json").read_text())
    generation = json.loads((saved / "generation_config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert (config["eos_token_id"], config["bos_token_id"]) == (5, 4)
    assert generation == {"eos_token_id": 5, "bos_token_id": 4}
    assert dynexit.load(saved, check=False).eos == {5}


def test_nothing_is_left_beside_the_checkpoint(write, tmp_path):
    save_checkpoint(read(write()), tmp_path / "saved")
    names = sorted(file.name for file in (tmp_path / "saved").iterdir())
    assert names == ["config.json", "generation_config.json", "model.safetensors"]


@pytest.mark.parametrize("first", ["1GB", "10KB", "40KB"])
@pytest.mark.parametrize("second", ["1GB", "20KB"])
def test_saving_again_replaces(write, tmp_path, first, second):
    """Whatever the shards were, dynexit and transformers read what was saved last."""
    ours, saved = read(write()), tmp_path / "saved"
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    save_checkpoint(ours, saved, torch.bfloat16, max_shard_size=first)
    save_checkpoint(ours, saved, torch.float32, max_shard_size=second)
    assert all(torch.equal(before[name], t) for name, t in ours.state_dict().items())
    again, theirs = read(saved).state_dict(), AutoModelForCausalLM.from_pretrained(saved)
    assert torch.equal(theirs.lm_head.weight, before["head.weight"])
    assert all(torch.equal(again[name], tensor) for name, tensor in before.items())


def test_sharded_checkpoints(write, tmp_path):
    ours, saved = read(write()), tmp_path / "saved"
    save_checkpoint(ours, saved, torch.float32, max_shard_size="20KB")
    shards = sorted(saved.glob("*.safetensors"))
    assert len(shards) > 3
    assert max(shard.stat().st_size for shard in shards) < 22_000
    theirs, info = AutoModelForCausalLM.from_pretrained(saved, output_loading_info=True)
    assert not any((info["missing_keys"], info["unexpected_keys"])), info
    tokens = tokens_for(30)
    with torch.inference_mode():
        assert (theirs(tokens[None]).logits[0] - forward(read(saved), tokens)).abs().max() <= 1e-4
    assert not list(saved.glob("*.partial"))


def test_tied_weights_are_saved_once(write, tmp_path):
    save_checkpoint(read(write(variant="tied")), tmp_path / "saved")
    assert "lm_head.weight" not in load_file(tmp_path / "saved" / "model.safetensors")
    assert random_model(variant="tied").config.tie_word_embeddings
