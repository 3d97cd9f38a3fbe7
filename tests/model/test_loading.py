"""Weights: read from one file or several, and refused where they are damaged or pickled."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoints import change_json, random_model, read, refusal
from transformers import AutoModelForCausalLM

import dynexit

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
NORM = "model.layers.2.input_layernorm.weight"
GATE = "model.layers.1.mlp.gate_proj.weight"
OUT = "model.layers.0.self_attn.o_proj.weight"
EMBEDDING = "model.embed_tokens.weight"


def test_sharded_weights_are_those_of_a_single_file(write, tmp_path):
    folder = write(max_shard_size="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 3
    assert not (folder / WEIGHTS).exists()
    random_model().save_pretrained(tmp_path / "single")
    sharded, single = read(folder).state_dict(), read(tmp_path / "single").state_dict()
    assert sharded.keys() == single.keys()
    assert all(torch.equal(sharded[name], single[name]) for name in single)


def test_a_single_file_comes_before_an_index_as_in_transformers(write, tmp_path):
    folder = write(max_shard_size="20KB")
    other = {name: t.clone() + 1 for name, t in random_model().state_dict().items()}
    save_file(other, folder / WEIGHTS, metadata={"format": "pt"})
    theirs = AutoModelForCausalLM.from_pretrained(folder).model.embed_tokens.weight
    assert torch.equal(read(folder).embedding.weight, theirs)


def test_weights_take_the_dtype_asked_for(write):
    folder = write()
    exact, narrow = read(folder), read(folder, torch.bfloat16)
    assert {p.dtype for p in narrow.parameters()} == {torch.bfloat16}
    assert torch.equal(narrow.layers[1].qkv.weight, exact.layers[1].qkv.weight.bfloat16())


def test_tied_weights_share_memory(write):
    model = read(write(variant="tied"))
    assert model.head.weight is model.embedding.weight


# What is done to a good checkpoint, and what the sentence that refuses it must name.


def change_tensors(**changes):
    def change(folder):
        tensors = {**load_file(folder / WEIGHTS), **changes}
        kept = {name: tensor for name, tensor in tensors.items() if tensor is not ...}
        save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})

    return change


def keep_bytes(count):
    """Cut the file after `count` bytes; a negative count leaves out the last ones."""

    def cut(folder):
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:count])

    return cut


def overwrite_header(folder):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:8] + b"\xff" * 64 + content[72:])


DAMAGES = {
    "missing tensor": (change_tensors(**{NORM: ...}), re.escape(f"'{NORM}'")),
    "too wide": (
        change_tensors(**{GATE: torch.zeros(41, 32)}),
        rf"'{GATE}' has shape \(41, 32\).*\(40, 32\)",
    ),
    "too narrow": (
        change_tensors(**{GATE: torch.zeros(1, 32)}),
        rf"'{GATE}' has shape \(1, 32\).*\(40, 32\)",
    ),
    "one dimension more": (
        change_tensors(**{NORM: torch.zeros(32, 1)}),
        rf"'{NORM}' has shape \(32, 1\).*\(32,\)",
    ),
    "integers": (
        change_tensors(**{OUT: torch.zeros(32, 32, dtype=torch.int8)}),
        f"'{OUT}' is I8",
    ),
    "last byte cut": (keep_bytes(-1), f"{WEIGHTS} is damaged or truncated.*'{EMBEDDING}'"),
    "data cut": (keep_bytes(30_000), f"{WEIGHTS} is damaged or truncated.*'{EMBEDDING}'"),
    "header cut": (keep_bytes(100), f"{WEIGHTS} is damaged or truncated.*'{EMBEDDING}'"),
    "empty file": (keep_bytes(0), f"{WEIGHTS} is damaged or truncated.*'{EMBEDDING}'"),
    "bad header": (overwrite_header, f"{WEIGHTS} is damaged or truncated.*'{EMBEDDING}'"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), f"no {WEIGHTS} and no {INDEX}"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_are_refused_by_name(write, damage):
    folder = write()
    read(folder)
    do, named = DAMAGES[damage]
    do(folder)
    assert re.search(named, refusal(lambda: read(folder)))


@pytest.fixture
def sharded(write):
    """(folder, the shard that holds GATE)."""
    folder = write(max_shard_size="20KB")
    return folder, folder / json.loads((folder / INDEX).read_text())["weight_map"][GATE]


def test_missing_shard(sharded):
    folder, shard = sharded
    shard.unlink()
    assert f"{shard} is missing" in refusal(lambda: read(folder))


def test_truncated_shard(sharded):
    folder, shard = sharded
    shard.write_bytes(shard.read_bytes()[:-1])
    assert f"{shard} is damaged or truncated" in refusal(lambda: read(folder))


def test_tensor_that_the_index_does_not_list(sharded):
    folder, _ = sharded
    weight_map = json.loads((folder / INDEX).read_text())["weight_map"]
    change_json(folder / INDEX, weight_map={k: v for k, v in weight_map.items() if k != GATE})
    assert re.search(rf"{INDEX} does not .*'{GATE}'", refusal(lambda: read(folder)))


def test_tensor_that_is_not_in_the_shard_of_the_index(sharded):
    folder, shard = sharded
    weight_map = json.loads((folder / INDEX).read_text())["weight_map"]
    other = next(name for name in weight_map.values() if name != shard.name)
    change_json(folder / INDEX, weight_map={**weight_map, GATE: other})
    assert f"{other} has no tensor '{GATE}'" in refusal(lambda: read(folder))


@pytest.mark.parametrize("index", ["", "{", "[]", "{}", '{"weight_map": null}'])
def test_garbage_index(sharded, index):
    folder, _ = sharded
    (folder / INDEX).write_text(index)
    assert INDEX in refusal(lambda: read(folder))


@pytest.mark.parametrize("files", [[], 7, None], ids=str)
def test_index_of_another_type(sharded, files):
    folder, _ = sharded
    weight_map = json.loads((folder / INDEX).read_text())["weight_map"]
    change_json(folder / INDEX, weight_map=dict.fromkeys(weight_map, files))
    assert INDEX in refusal(lambda: read(folder))


@pytest.mark.parametrize(
    "name", ["../elsewhere.safetensors", "/etc/passwd", "a/b", "..", "", "a\0"]
)
def test_index_that_leads_elsewhere(sharded, name):
    folder, shard = sharded
    shutil.copy(shard, folder.parent / "elsewhere.safetensors")
    weight_map = json.loads((folder / INDEX).read_text())["weight_map"]
    change_json(folder / INDEX, weight_map={**weight_map, GATE: name})
    told = refusal(lambda: read(folder))
    assert f"{INDEX} names a file {name!r}: all must be beside it" in told


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "tokenizer.json", "chat_template.jinja"])
def test_what_is_no_file_is_not_opened(write, name):
    """A pipe that nobody writes to would be waited for, for good."""
    folder = write()
    (folder / "tokenizer_config.json").write_text("{}")
    for make in (os.mkfifo, lambda file: file.symlink_to("/dev/zero")):
        (folder / name).unlink(missing_ok=True)
        make(folder / name)
        told = refusal(lambda: dynexit.load(folder, check=False))
        assert f"{folder / name} is neither a regular file nor a folder" in told


def test_a_text_of_absurd_length_is_not_read(write):
    folder = write()
    with (folder / "generation_config.json").open("wb") as file:
        file.truncate(2**28 + 1)
    told = refusal(lambda: dynexit.load(folder, check=False))
    assert "generation_config.json has 268435457 bytes" in told


class Trap:
    """A pickle that writes a file when it is opened."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "last.ckpt"])
def test_pickled_weights_are_refused_and_never_opened(write, tmp_path, name):
    folder, marker = write(), tmp_path / "opened"
    (folder / WEIGHTS).unlink()
    (folder / name).write_bytes(pickle.dumps(Trap(marker)))
    message = refusal(lambda: read(folder))
    assert re.search(rf"only pickled weights \({re.escape(name)}\).*can run code", message)
    assert not marker.exists()
    pickle.loads((folder / name).read_bytes()).close()
    assert marker.exists(), "the trap is none"


MEASURE = """
import sys, torch
from pathlib import Path
from dynexit.model.loading import load_model, load_shape

def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024

def load(folder):
    return load_model(folder, load_shape(folder), torch.bfloat16, torch.device("cpu"))

small, large = map(Path, sys.argv[1:])
load(small)  # whatever is imported late
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = status("VmRSS:")
model = load(large)
weights = sum(p.numel() * p.element_size() for p in model.parameters())
print(weights, status("VmHWM:") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's peak memory from /proc")
@pytest.mark.parametrize("shard_size", ["1GB", "100MB"])
def test_peak_memory_is_little_more_than_the_weights(write, tmp_path_factory, shard_size):
    small, large = write(), tmp_path_factory.mktemp("large")
    shape = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 7}
    heads = {"num_attention_heads": 16, "num_key_value_heads": 16, "vocab_size": 8192}
    random_model(**shape, **heads).bfloat16().save_pretrained(large, max_shard_size=shard_size)
    command = [sys.executable, "-c", MEASURE, str(small), str(large)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for file in large.iterdir():
        file.unlink()
    weights, grown = map(int, output.split())
    assert 200e6 < weights < 300e6
    assert 0.9 * weights < grown <= 1.15 * weights + 30e6
