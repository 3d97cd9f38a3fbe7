"""A GGUF file that we write holds the checkpoint that it was made of, rounded to its types."""

import json
from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf_files import WIDE, tensors_of, write_gguf
from safetensors.torch import load_file, save_file
from tiny_checkpoints import VARIANTS, change_json, forward, random_model, read, refusal, tokens_for

import dynexit as package
from dynexit.model.gguf import writing
from dynexit.model.gguf.blocks import FLOATS, QUANTISED
from dynexit.model.gguf.header import read_header
from dynexit.model.gguf.weights import open_weights
from dynexit.model.loading import load_eos
from dynexit.model.names import WRITTEN
from dynexit.model.native.binding import runtimes
from dynexit.model.places import BUNDLED
from dynexit.model.rope import inverse_frequencies

CASES = [
    (family, variant)
    for family, variants in VARIANTS.items()
    for variant in variants
    if (family, variant) != ("qwen3", "biases")
]
EACH_TYPE = pytest.mark.parametrize("kind", WRITTEN)
SMALL = ("q4_0", "q4_1", "q5_0", "q5_1")


def write(folder, file, kind="f32", head=None, **options):
    writing.write(writing.checkpoint(folder, **options), file, writing.Types.of(kind, head))
    return file


def saved(folder, family="llama", variant="gqa", **changes):
    random_model(family, variant, **changes).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A checkpoint whose rows hold blocks of 32."""
    return saved(tmp_path_factory.mktemp("wide"), **WIDE)


@pytest.mark.parametrize(("family", "variant"), CASES)
def test_a_file_in_f32_is_the_same_model(tmp_path, family, variant):
    folder = saved(tmp_path / "folder", family, variant)
    ours, theirs = read(write(folder, tmp_path / "m.gguf")), read(folder)
    expected = tensors_of(theirs)
    assert tensors_of(ours).keys() == expected.keys()
    for name, value in tensors_of(ours).items():
        assert torch.equal(value, expected[name]), name
    assert replace(ours.config, family=family, rope=theirs.config.rope) == theirs.config
    turns = [inverse_frequencies(m.config.rope, m.config.head_dim) for m in (ours, theirs)]
    torch.testing.assert_close(*turns, rtol=2e-7, atol=0)  # the file has them as quotients
    torch.testing.assert_close(forward(ours, tokens_for(99)), forward(theirs, tokens_for(99)))


def test_types_that_are_offered_are_those_that_can_be_rounded_to_and_run():
    able = set()
    for kind in (*FLOATS, *QUANTISED):
        try:
            gguf.quantize(np.zeros((1, 256), np.float32), kind)
        except NotImplementedError:
            continue
        able.add(kind.name.lower())
    assert able == set(WRITTEN)


@EACH_TYPE
def test_values_are_those_of_the_gguf_package_to_the_bit(tmp_path, wide, kind):
    file = write(wide, tmp_path / "m.gguf", kind)
    weights, originals = open_weights(file), load_file(wide / "model.safetensors")
    assert set(weights.keys()) == originals.keys()
    for name, values in originals.items():
        expected, tensor = values.float().numpy(), weights.tensor(name)
        if values.ndim > 1:
            head = "q8_0" if kind in SMALL else kind
            assert tensor.type is Type[(head if name == "lm_head.weight" else kind).upper()]
            expected = gguf.dequantize(gguf.quantize(expected, tensor.type), tensor.type)
        else:
            assert tensor.type is Type.F32
        assert np.array_equal(weights.get_tensor(name).float().numpy(), expected), name


def test_a_tied_head_has_the_heads_type(tmp_path):
    folder = saved(tmp_path / "folder", variant="tied", **WIDE)
    for kind, head, expected in (("q4_0", None, "Q8_0"), ("q4_0", "f16", "F16")):
        tensors = read_header(write(folder, tmp_path / f"{head}.gguf", kind, head)).tensors
        assert "output.weight" not in tensors
        assert tensors["token_embd.weight"].type.name == expected
        assert tensors["blk.0.attn_q.weight"].type is Type.Q4_0


@pytest.mark.gguf_tokenizer
@pytest.mark.parametrize("kind", ["f32", "bf16"])
def test_the_bundled_model_writes_the_same_text(tmp_path, kind):
    file = write(BUNDLED, tmp_path / "bundled.gguf", kind)
    ours, theirs = (package.load(m, "fp32", "cpu", check=False) for m in (file, None))
    assert ours.model.config == theirs.model.config
    assert (ours.eos, ours.model.vocabulary_size) == (theirs.eos, theirs.model.vocabulary_size)
    for text in ("Größe: 3 x 12  = 36\n\n    return  x<|endoftext|>", "It's 1999's"):
        assert ours.tokenizer.encode(text) == theirs.tokenizer.encode(text)
    for method in ("vanilla", "layerskip"):
        options = {"max_new_tokens": 40, "logprobs": 0}
        one, other = (
            list(lm.stream("Question: Tom has", method, **options)) for lm in (ours, theirs)
        )
        assert one == other  # tokens, where they came from, and what they were worth


@pytest.mark.gguf_tokenizer
@pytest.mark.skipif(not runtimes(), reason="needs the native library")
@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_exits_of_the_bundled_model_still_draft(tmp_path, kind):
    lm = package.load(write(BUNDLED, tmp_path / "m.gguf", kind), device="cpu", check=False)
    prompt, options = "Question: Tom has 3 apples and", {"max_new_tokens": 48}
    plain, drafted = (lm.generate(prompt, m, **options) for m in ("vanilla", "layerskip"))
    assert drafted.token_ids == plain.token_ids
    assert drafted.stats.acceptance_rate > 0.2
    assert lm.model.runtime_name.endswith(kind.upper() if kind == "q8_0" else "Q4_0, Q8_0")


def test_a_file_of_floats_becomes_the_file_that_its_checkpoint_becomes(tmp_path):
    floats = write(BUNDLED, tmp_path / "floats.gguf", "f32", name="mine")
    twice = write(floats, tmp_path / "twice.gguf", "q4_1")
    once = write(BUNDLED, tmp_path / "once.gguf", "q4_1", name="mine")
    assert once.read_bytes() == twice.read_bytes()


def test_a_split_file_becomes_one(tmp_path, wide):
    parts = gguf.GGUFWriter(str(tmp_path / "parts.gguf"), "llama", split_max_tensors=9)
    whole = read_header(write(wide, tmp_path / "whole.gguf"))
    for key, field in gguf.GGUFReader(whole.file).fields.items():
        if not key.startswith(("GGUF.", "general.architecture")):
            parts.add_key_value(key, field.contents(), field.types[0])
    for tensor in gguf.GGUFReader(whole.file).tensors:
        parts.add_tensor(tensor.name, tensor.data)
    parts.write_header_to_file()
    parts.write_kv_data_to_file()
    parts.write_tensors_to_file()
    parts.close()
    first = min(tmp_path.glob("parts-*.gguf"))
    again = write(first, tmp_path / "again.gguf")
    assert read_header(again).metadata.keys() == whole.metadata.keys()
    expected = tensors_of(read(wide))
    assert all(torch.equal(v, expected[n]) for n, v in tensors_of(read(again)).items())


# What is refused.


def test_a_quantised_file_is_not_rounded_again(tmp_path, dynexit):
    write_gguf(tmp_path / "m.gguf", kind=Type.Q4_1, **WIDE)
    code, out, err = dynexit("quantize", tmp_path / "m.gguf", tmp_path / "new.gguf")
    assert (code, out) == (2, "")
    assert "m.gguf is already quantised (Q4_1): give the original checkpoint" in err
    assert [file.name for file in tmp_path.iterdir()] == ["m.gguf"]


def test_rows_that_are_no_whole_blocks(tmp_path):
    folder = saved(tmp_path / "folder")
    assert refusal(lambda: write(folder, tmp_path / "m.gguf", "q4_0")) == (
        "tensor 'blk.0.ffn_down.weight' has rows of 40, not a multiple of Q4_0's "
        "block size 32: use f16, bf16 or f32."
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e5])
def test_numbers_that_a_type_cannot_hold(tmp_path, value):
    folder = saved(tmp_path / "folder", **WIDE)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for kind in ("f16", "q8_0", "f32"):
        if kind == "f32" and value == -1e5:
            continue
        sentence = refusal(lambda kind=kind: write(folder, tmp_path / "m.gguf", kind))
        assert f"'blk.1.ffn_up.weight' has numbers that {kind.upper()} cannot hold" in sentence
    assert list(tmp_path.iterdir()) == [folder]


def test_a_bias_that_llama_cpp_does_not_know(tmp_path):
    folder = saved(tmp_path / "folder", "qwen3", "biases")
    assert refusal(lambda: write(folder, tmp_path / "m.gguf")) == (
        "llama.cpp does not support a bias on the output of Qwen3's attention."
    )


def test_texts_that_end_in_several_ways(tmp_path):
    folder = saved(tmp_path / "folder")
    change_json(folder / "generation_config.json", eos_token_id=[9, 3, 5])
    assert load_eos(write(folder, tmp_path / "m.gguf")) == {3, 5, 9}
    change_json(folder / "generation_config.json", eos_token_id=[9, 3, 5, 7])
    assert "4 tokens end this model's texts, but a GGUF file can name only 3" in refusal(
        lambda: write(folder, tmp_path / "more.gguf")
    )


@pytest.mark.gguf_tokenizer
def test_the_command_says_what_it_wrote(tmp_path, dynexit):
    out = tmp_path / "bundled.gguf"
    code, told, err = dynexit("quantize", "bundled", out, "--type", "Q4_0", "--head-type", "q5_1")
    assert (code, err) == (0, "")
    assert told.splitlines()[:2] == [f"{out}: 10.2 MB", "embedding: Q5_1 1.6 MB"]
    metadata = read_header(out).metadata
    assert metadata["general.name"] == "bundled"
    assert metadata["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q4_0
    before = out.read_bytes()
    code, _, err = dynexit("quantize", "bundled", out)
    assert (code, out.read_bytes()) == (2, before)
    assert f"{out} already exists: give a new name, or remove it." in err
    code, out, _ = dynexit("info", out, "--json")
    assert json.loads(out)["eos_token_ids"] == [0]


def test_no_room_leaves_nothing(tmp_path):
    from test_files import room_for

    with room_for(1_000_000):
        sentence = refusal(lambda: write(BUNDLED, tmp_path / "m.gguf", "bf16"))
    assert sentence.startswith(f"cannot write {tmp_path / 'm.gguf'}: ")
    assert list(tmp_path.iterdir()) == []
