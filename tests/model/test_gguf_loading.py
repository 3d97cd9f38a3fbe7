"""GGUF files say what the checkpoint that they were made of says."""

import json
import shutil
import subprocess
import sys

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf_blocks import random_blocks
from gguf_files import (
    WIDE,
    add_tokenizer,
    tensors_of,
    write_gguf,
    write_model,
)
from tiny_checkpoints import LLAMA3, VARIANTS, forward, random_model, read, refusal, tokens_for
from transformers import AutoModelForCausalLM

import dynexit as package
from dynexit.model.gguf.blocks import FLOATS, QUANTISED
from dynexit.model.gguf.weights import open_weights
from dynexit.model.loading import load_shape
from dynexit.model.places import BUNDLED, find_checkpoint

CASES = [
    (family, variant)
    for family, variants in VARIANTS.items()
    for variant, settings in variants.items()
    if family != "mistral" and "bias" not in variant and not variant.startswith("rope-l")
    if settings is not None
]


def load(file, **options):
    return package.load(file, device="cpu", check=False, **options)


@pytest.mark.parametrize(("family", "variant"), CASES)
def test_a_file_of_each_family_holds_what_its_checkpoint_holds(tmp_path, family, variant):
    write_gguf(tmp_path / "m.gguf", family, variant).save_pretrained(tmp_path / "folder")
    ours, theirs = read(tmp_path / "m.gguf"), read(tmp_path / "folder")
    expected = tensors_of(theirs)
    assert tensors_of(ours).keys() == expected.keys()
    for name, value in tensors_of(ours).items():
        assert torch.equal(value, expected[name]), name
    assert ours.config.tie_embeddings == theirs.config.tie_embeddings
    torch.testing.assert_close(forward(ours, tokens_for(20)), forward(theirs, tokens_for(20)))


def test_biases_of_llama(tmp_path):
    model = random_model("llama", "biases", mlp_bias=False)
    for layer in model.model.layers:  # rows of biases are permuted as those of weights are
        layer.self_attn.q_proj.bias.data.normal_()
    write_model(tmp_path / "m.gguf", model)
    model.save_pretrained(tmp_path / "folder")
    ours, theirs = (forward(read(tmp_path / n), tokens_for(9)) for n in ("m.gguf", "folder"))
    torch.testing.assert_close(ours, theirs)


def test_rope_frequencies_in_the_file(tmp_path):
    """llama.cpp's converter writes Llama 3.1's scaling as a factor for each pair of dimensions."""
    model = random_model("llama", "rope-llama3")
    model.save_pretrained(tmp_path / "folder")
    plain = 1.0 / LLAMA3["rope_theta"] ** (torch.arange(0, 8, 2).float() / 8)
    factors = (plain / model.model.rotary_emb.inv_freq).numpy().astype(np.float32)
    tensors = [("rope_freqs.weight", factors)]
    write_model(tmp_path / "m.gguf", model, tensors=tensors)
    tokens = tokens_for(100)
    ours, theirs = (forward(read(tmp_path / n), tokens) for n in ("m.gguf", "folder"))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    plain = random_model("llama", "gqa")
    write_model(tmp_path / "plain.gguf", plain)
    assert not torch.allclose(forward(read(tmp_path / "plain.gguf"), tokens), ours, atol=1e-2)


def test_linear_rope_scaling(tmp_path):
    model = random_model("llama", "rope-linear")
    model.save_pretrained(tmp_path / "folder")

    def scaling(writer):
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(3.0)

    write_model(tmp_path / "m.gguf", model, metadata=scaling)
    assert load_shape(tmp_path / "m.gguf").rope == load_shape(tmp_path / "folder").rope


@pytest.mark.parametrize("kind", [*FLOATS, *QUANTISED], ids=lambda kind: kind.name)
def test_values_are_those_of_the_gguf_package(tmp_path, kind):
    shape = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1}
    write_gguf(tmp_path / "m.gguf", "llama", "gqa", kind, head_dim=64, **shape)
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    weights = open_weights(tmp_path / "m.gguf")
    for ours, theirs in (("mlp.down_proj", "ffn_down"), ("self_attn.v_proj", "attn_v")):
        tensor = tensors[f"blk.0.{theirs}.weight"]
        expected = gguf.dequantize(tensor.data, tensor.tensor_type)
        got = weights.get_tensor(f"model.layers.0.{ours}.weight")
        assert np.array_equal(got.float().numpy(), expected)


def test_a_split_file_is_one_model(tmp_path):
    model = random_model()
    write_model(tmp_path / "m.gguf", model, split_max_tensors=9)
    model.save_pretrained(tmp_path / "folder")
    parts = sorted(tmp_path.glob("*.gguf"))
    assert len(parts) > 2
    expected = tensors_of(read(tmp_path / "folder"))
    for part in (parts[0], parts[-1]):
        assert all(torch.equal(v, expected[n]) for n, v in tensors_of(read(part)).items())
    parts[1].unlink()
    assert refusal(lambda: read(parts[0])) == (
        f"{parts[1]} is missing: {parts[0].name} is one of {len(parts)} parts of a model."
    )


@pytest.mark.gguf_tokenizer
def test_tokenizer_ends_and_chat_template_come_from_the_file(tmp_path):
    """The bundled model as a GGUF file, beside another tokenizer that does not count."""
    model = AutoModelForCausalLM.from_pretrained(BUNDLED)
    template = "{% for m in messages %}<{{ m['content'] }}>{% endfor %}"

    def metadata(writer):
        add_tokenizer(writer, BUNDLED)
        writer.add_chat_template(template)

    file = tmp_path / "bundled.gguf"
    write_model(file, model, lambda _: Type.BF16, metadata)
    (tmp_path / "tokenizer.json").write_text("{}")
    ours, theirs = load(file), package.load(device="cpu", check=False)
    for text in ("Größe: 3 x 12  = 36\n\n    return  x<|endoftext|>", "a  12", "It's 1999's"):
        assert ours.tokenizer.encode(text) == theirs.tokenizer.encode(text)
    assert ours.eos == theirs.eos
    assert ours.tokenizer.render_chat([{"role": "user", "content": "hi"}]) == "<hi>"
    prompt = "Question: Tom has 3 apples and"
    assert ours.generate(prompt, "vanilla").text == theirs.generate(prompt, "vanilla").text


def test_the_command_line_takes_a_file(tmp_path, dynexit):
    write_gguf(tmp_path / "m.gguf", kind=Type.Q4_1, kinds={"token_embd": Type.Q8_0}, **WIDE)
    code, out, _ = dynexit("info", tmp_path / "m.gguf", "--device", "cpu", "--json")
    assert code == 0
    assert json.loads(out)["tensors"] == {
        "embedding": {"Q8_0": 97 * 68},
        "norms": {"F32": 9 * 64 * 4},
        "attention": {"Q4_1": 4 * (64 + 32 + 32 + 64) * 40},
        "feed-forward": {"Q4_1": 4 * (2 * 96 * 40 + 64 * 60)},
        "head": {"Q4_1": 97 * 40},
    }
    code, out, err = dynexit("generate", "-m", tmp_path / "m.gguf", "--device", "cpu", "hi")
    assert (code, out) == (2, "")
    assert err.endswith("error: this checkpoint has no tokenizer: give token ids as prompt.\n")
    code, out, err = dynexit("generate", "-m", tmp_path / "none.gguf", "hi")
    assert (code, out) == (2, "")
    assert "does not exist" in err


# Which of several files.


def names_in(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"GGUF")
    return folder


def test_a_folder_with_one_file_means_that_file(tmp_path):
    names_in(tmp_path, "m-Q4_0-00001-of-00002.gguf", "m-Q4_0-00002-of-00002.gguf", "mmproj-m.gguf")
    assert find_checkpoint(tmp_path) == tmp_path / "m-Q4_0-00001-of-00002.gguf"


def test_a_folder_with_several_files_lists_them(tmp_path):
    names_in(tmp_path, "My-1B-Q4_K_M.gguf", "My-1B-Q8_0.gguf", "My-1B-IQ4_XS.gguf")
    assert refusal(lambda: find_checkpoint(tmp_path)) == (
        f"{tmp_path} has several GGUF files: choose one of IQ4_XS, Q4_K_M, Q8_0."
    )


FIND = """
import json, sys
from dynexit.errors import DynexitError
from dynexit.model.places import find_checkpoint

def find(name):
    try:
        return find_checkpoint(name).name
    except DynexitError as error:
        return str(error)

print(json.dumps([find(name) for name in sys.argv[1:]]))
"""


def test_hub_ids_in_the_cache(tmp_path):
    commit = "0123456789abcdef" * 2 + "01234567"
    for repository, names in {
        "a/one": ["One.Q8_0.gguf"],
        "a/many": ["many-q4_k_m.gguf", "many-q8_0.gguf"],
    }.items():
        folder = tmp_path / f"models--{repository.replace('/', '--')}"
        snapshot = folder / "snapshots" / commit
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text(commit)
        snapshot.mkdir(parents=True)
        names_in(snapshot, *names)
    asked = ["a/one", "a/one:Q8_0", "a/many:Q4_K_M", "a/many", "a/many:Q5_0", "a/none:Q8_0"]
    done = subprocess.run(
        [sys.executable, "-c", FIND, *asked],
        capture_output=True,
        text=True,
        check=True,
        env={"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"},
    )
    found = json.loads(done.stdout)
    assert found[:3] == ["One.Q8_0.gguf", "One.Q8_0.gguf", "many-q4_k_m.gguf"]
    assert found[3] == "a/many has several GGUF files: choose one of q4_k_m, q8_0."
    assert found[4] == "a/many has no Q5_0: it has q4_k_m, q8_0."
    assert found[5].startswith("cannot get 'a/none': ")


# What does not run.


def test_types_that_do_not_run_are_named(tmp_path):
    shape = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1}
    write_gguf(tmp_path / "m.gguf", kinds={"ffn_up": Type.TQ1_0}, head_dim=64, **shape)
    assert "tensor 'blk.0.ffn_up.weight' is TQ1_0, which is not supported" in refusal(
        lambda: read(tmp_path / "m.gguf")
    )


def described(file, architecture="llama", **metadata):
    """A file of a random Llama that says other things of itself."""

    def add(writer):
        for key, value in metadata.items():
            name = key.replace("__", ".")
            (writer.add_string if isinstance(value, str) else writer.add_uint32)(name, value)

    write_model(file, random_model(), metadata=add)
    if architecture != "llama":
        file.write_bytes(file.read_bytes().replace(b"llama", architecture.encode()))
    return file


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "gemma"}, "holds a 'gemma' model, which is not supported"),
        ({"llama__expert_count": 8}, "holds a mixture of experts"),
        ({"llama__rope__scaling__type": "yarn"}, "RoPE type 'yarn' is not supported"),
    ],
)
def test_models_that_do_not_run_are_named(tmp_path, changes, reason):
    file = described(tmp_path / "m.gguf", **changes)
    assert reason in refusal(lambda: load_shape(file))


def test_a_tensor_that_would_be_left_out_is_refused(tmp_path):
    extra = [("blk.0.attn_sinks.weight", np.zeros(4, np.float32))]
    write_model(tmp_path / "m.gguf", random_model(), tensors=extra)
    assert refusal(lambda: read(tmp_path / "m.gguf")).endswith(
        "m.gguf has a tensor 'blk.0.attn_sinks.weight', which is not supported."
    )


def test_a_file_that_is_replaced_is_read_again(tmp_path):
    write_gguf(tmp_path / "m.gguf")
    assert load_shape(tmp_path / "m.gguf").hidden_size == 32
    write_gguf(tmp_path / "other.gguf", **WIDE)
    shutil.move(tmp_path / "other.gguf", tmp_path / "m.gguf")
    assert load_shape(tmp_path / "m.gguf").hidden_size == 64


def test_random_blocks_have_finite_values():
    for kind in QUANTISED:
        blocks = random_blocks((4, 512), kind, 0)
        assert np.isfinite(gguf.dequantize(blocks, kind)).all()
