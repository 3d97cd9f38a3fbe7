"""A tied head and a head of its own: ours is what transformers makes of the same files."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoints import forward, random_model, read, tokens_for
from transformers import AutoModelForCausalLM

import dynexit
from dynexit.integrations.transformers.runtimes import runtime_of
from dynexit.model.interface import Span
from dynexit.model.loading import load_shape
from dynexit.model.native.binding import runtimes
from dynexit.model.native.loading import load_native
from dynexit.model.saving import save_checkpoint
from dynexit.model.tying import EMBEDDING, HEAD

native_only = pytest.mark.skipif(not runtimes(), reason="the native library was not built")
HELD = {  # what the files hold -> whether head and embedding are one
    "embedding": True,
    "head": True,
    "both, equal": True,
    "both, different": False,
}


def write(folder, held, shards=False):
    """A checkpoint whose configuration ties the head, and whose files hold what is asked."""
    model = random_model("llama", "gqa")
    model.save_pretrained(folder, max_shard_size="20KB" if shards else "1GB")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    if shards or held == "both, different":
        return folder
    tensors = load_file(folder / "model.safetensors")
    if held == "both, equal":
        tensors[HEAD] = tensors[EMBEDDING].clone()
    else:
        del tensors[HEAD if held == "embedding" else EMBEDDING]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def logits_of(runtime, tokens):
    rows = runtime.rows([Span(runtime.new_cache(), 0, len(tokens))])
    return runtime.unembed(runtime.run_layers(runtime.embed(tokens), rows, 0, 4))


@pytest.mark.parametrize("held", HELD)
def test_the_head_is_the_one_that_transformers_uses(held, tmp_path):
    folder = write(tmp_path, held)
    theirs, tokens = AutoModelForCausalLM.from_pretrained(folder), tokens_for(9)
    wanted = theirs(tokens[None]).logits[0].detach()
    assert load_shape(folder).tie_embeddings == HELD[held]
    assert (theirs.lm_head.weight is theirs.model.embed_tokens.weight) == HELD[held]
    made = [forward(read(folder), tokens), logits_of(runtime_of(theirs), tokens)]
    if runtimes():
        made.append(logits_of(load_native(folder, load_shape(folder), torch.float32), tokens))
        made.append(logits_of(runtime_of(dynexit.accelerate(theirs, release=True)), tokens))
    for logits in made:
        torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)


def test_heads_in_shards(tmp_path):
    folder = write(tmp_path, "both, different", shards=True)
    assert (folder / "model.safetensors.index.json").exists()
    theirs, tokens = AutoModelForCausalLM.from_pretrained(folder), tokens_for(9)
    made = forward(read(folder), tokens)
    torch.testing.assert_close(made, theirs(tokens[None]).logits[0].detach(), rtol=1e-4, atol=1e-4)


@native_only
def test_a_head_that_was_untied_in_memory():
    model, tokens = random_model("llama", "tied"), tokens_for(9)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().roll(1, 0))
    wanted = model(tokens[None]).logits[0].detach()
    for runtime in (runtime_of(model), runtime_of(dynexit.accelerate(model))):
        torch.testing.assert_close(logits_of(runtime, tokens), wanted, rtol=1e-4, atol=1e-4)


def test_what_is_saved_says_what_it_holds(tmp_path):
    model = read(write(tmp_path / "theirs", "both, different"))
    save_checkpoint(model, tmp_path / "ours", torch.float32)
    assert not json.loads((tmp_path / "ours" / "config.json").read_text())["tie_word_embeddings"]
    assert torch.equal(read(tmp_path / "ours").head.weight, model.head.weight)
