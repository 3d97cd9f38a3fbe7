"""Quantised safetensors that are not supported, or are not what they say, cost one sentence."""

import json
import random
from contextlib import suppress

import pytest
import torch
from affine_checkpoints import FEW, Form, quantise, settings_of, write_tensors
from safetensors.torch import load_file
from tiny_checkpoints import random_model, read, refusal

from dynexit.errors import DynexitError
from dynexit.model.loading import load_shape
from dynexit.model.native.blocks import load_blocks

WIDE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
DOWN, GATE = "model.layers.0.mlp.down_proj", "model.layers.1.mlp.gate_proj"
GPTQ, AWQ = FEW["gptq"], FEW["awq"]
EVEN, FOUR, EIGHT = Form("gptq"), FEW["compressed-4"], FEW["compressed-8"]
NATIVE = "native"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An unquantised checkpoint."""
    folder = tmp_path_factory.mktemp("plain")
    random_model(**WIDE).save_pretrained(folder)
    return folder


def change_settings(folder, changes):
    """Change a quantization_config; `...` removes a key."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    settings = {**config["quantization_config"], **changes}
    config["quantization_config"] = {k: v for k, v in settings.items() if v is not ...}
    file.write_text(json.dumps(config))


def weights(**changes):
    """Of compressed-tensors' group."""
    group = settings_of(FOUR)["config_groups"]["group_0"]
    return {"config_groups": {"group_0": {**group, "weights": {**group["weights"], **changes}}}}


def group(**changes):
    return {"config_groups": {"group_0": settings_of(FOUR)["config_groups"]["group_0"] | changes}}


INT8_INPUTS = {"num_bits": 8, "type": "int", "dynamic": True, "strategy": "token"}
SETTINGS = [
    # What somebody else runs.
    (
        GPTQ,
        {"quant_method": "fp8"},
        "quantised by 'fp8' are not supported: load the original, or one",
    ),
    (GPTQ, {"quant_method": "bitsandbytes"}, "quantised by 'bitsandbytes' are not supported"),
    (GPTQ, {"quant_method": "modelopt"}, "quantised by 'modelopt' are not supported"),
    (GPTQ, {"quant_method": ...}, "quantised by 'unknown' are not supported"),
    (
        GPTQ,
        {"checkpoint_format": "marlin"},
        "checkpoint_format is 'marlin', which is not supported",
    ),
    (GPTQ, {"is_marlin_format": True}, "is_marlin_format is True, which is not supported"),
    (GPTQ, {"format": "gptq_v2"}, "format and checkpoint_format differ"),
    (GPTQ, {"bits": 3}, "weights of 3 bits are not supported: use 4 or 8"),
    (GPTQ, {"pack_dtype": "int16"}, "pack_dtype is 'int16', which is not supported"),
    (GPTQ, {"rotation": "hadamard"}, "rotation is 'hadamard', which is not supported"),
    (GPTQ, {"dynamic": {"+:.*down": {"bits": 8}}}, "per-module quantisation"),
    (AWQ, {"version": "gemv"}, "version is 'gemv', which is not supported"),
    (AWQ, {"version": "gemv_fast"}, "version is 'gemv_fast', which is not supported"),
    (AWQ, {"version": "marlin"}, "version is 'marlin', which is not supported"),
    (AWQ, {"version": ..., "format": "gemv"}, "format is 'gemv', which is not supported"),
    (AWQ, {"backend": "llm-awq"}, "backend is 'llm-awq', whose layout is not supported"),
    (AWQ, {"bits": 8}, "AWQ of 8 bits is not supported"),
    (FOUR, {"format": "nvfp4-pack-quantized"}, "format is 'nvfp4-pack-quantized', which is not"),
    (FOUR, {"format": "float-quantized"}, "format is 'float-quantized', which is not supported"),
    (FOUR, {"format": "marlin-24"}, "format is 'marlin-24', which is not supported"),
    (FOUR, {"format": ...}, "format is 'none', which is not supported"),
    (FOUR, group(format="int-quantized"), "format is 'int-quantized', which is not supported"),
    (FOUR, {"kv_cache_scheme": {"num_bits": 8}}, "kv_cache_scheme is set, which is not supported"),
    (FOUR, {"transform_config": {"config_groups": {"a": 1}}}, "transform_config is set, which"),
    (FOUR, {"sparsity_config": {"format": "sparse-24-bitmask"}}, "'sparse-24-bitmask', which is"),
    (FOUR, group(input_activations=INT8_INPUTS), "input_activations are quantised, which is not"),
    (FOUR, group(output_activations=INT8_INPUTS), "output_activations are quantised, which is"),
    (FOUR, weights(type="float"), "type is 'float', which is not supported"),
    (FOUR, weights(num_bits=2), "weights of 2 bits are not supported"),
    (
        FOUR,
        weights(strategy="tensor", group_size=None),
        "strategy is 'tensor', which is not supported",
    ),
    (FOUR, weights(strategy="block"), "strategy is 'block', which is not supported"),
    (
        FOUR,
        weights(strategy=None, group_size=None),
        "strategy 'group' does not go with group_size None",
    ),
    (FOUR, weights(dynamic=True), "dynamic is True, which is not supported"),
    (FOUR, weights(actorder="group"), "weight_g_idx' is missing"),
    (FOUR, weights(actorder=True), "weight_g_idx' is missing"),
    # What tensors do not bear out.
    (GPTQ, {"bits": 8}, "asks for I32"),
    (GPTQ, {"group_size": 48}, "q_proj has 64 inputs, which are no whole groups of 48"),
    (GPTQ, {"group_size": 64}, "qzeros' is I32 (2, 8), but GPTQ 4-bit g64 asks for I32 (1, 8)"),
    (GPTQ, {"group_size": -1}, "qzeros' is I32 (2, 8), but GPTQ 4-bit by row asks for I32 (1, 8)"),
    (GPTQ, {"group_size": 16}, "qzeros' is I32 (2, 8), but GPTQ 4-bit g16 asks for I32 (4, 8)"),
    (GPTQ, {"sym": True}, "is symmetric by config.json, but has zero points other than 8"),
    (EVEN, {"checkpoint_format": "gptq_v2"}, "has zero points other than 8"),
    (AWQ, {"zero_point": False}, "has zero points other than 8"),
    (AWQ, {"quant_method": "gptq"}, "asks for"),
    (FOUR, weights(num_bits=8), "weight_packed' is I32"),
    (FOUR, weights(symmetric=False), "weight_zero_point' is missing"),
    (
        EIGHT,
        weights(num_bits=8, strategy="channel", group_size=-1),
        "weight_zero_point' is none of",
    ),
    (FOUR, {"ignore": ["lm_head", DOWN]}, f"{DOWN} is not quantised, but its tensors are"),
    (AWQ, {"modules_to_not_convert": ["mlp"]}, "is not quantised, but its tensors are"),
    # What is nothing.
    (GPTQ, {"bits": ...}, "config.json has no 'bits'"),
    (GPTQ, {"bits": "4"}, "bits is '4': it must be a whole number"),
    (GPTQ, {"bits": 10**40}, "weights of a number of 133 bits bits are not supported"),
    (GPTQ, {"group_size": 0}, "group_size is 0"),
    (GPTQ, {"group_size": -2}, "group_size is -2: it must be"),
    (GPTQ, {"sym": "yes"}, "sym is 'yes': it must be true or false"),
    (AWQ, {"modules_to_not_convert": "lm_head"}, "modules_to_not_convert is 'lm_head': it must be"),
    (FOUR, {"config_groups": {}}, "config_groups is empty"),
    (FOUR, {"config_groups": ...}, "config.json has no 'config_groups'"),
    (FOUR, {"config_groups": {"W4A16": ["Linear"]}}, "config_groups is {'W4A16': ['Linear']}"),
    (FOUR, group(weights=None), "config.json has no 'weights'"),
]


@pytest.mark.parametrize(("form", "changes", "reason"), SETTINGS, ids=lambda v: str(v)[:60])
def test_settings_that_do_not_run_or_fit_are_told(plain, tmp_path, form, changes, reason):
    folder = tmp_path / "m"
    quantise(plain, folder, form)
    read(folder)
    change_settings(folder, changes)
    for load in (read, in_blocks):
        assert reason in refusal(lambda load=load: load(folder))


def in_blocks(folder):
    return load_blocks(folder, load_shape(folder), torch.bfloat16)


def out_of_order(tensors):
    """As activation order leaves it."""
    tensors[f"{DOWN}.g_idx"] = tensors[f"{DOWN}.g_idx"].flip(0)


def with_weight(tensors):
    tensors[f"{DOWN}.weight"] = torch.zeros(64, 96)


def with_bias(tensors):
    tensors[f"{DOWN}.bias"] = torch.ones(64, dtype=torch.float16)


def past_the_end(tensors):
    """A zero point of 16, which four bits hold as 15 where 1 is taken off."""
    tensors[f"{DOWN}.qzeros"] |= 0xF0


def replaced(name, change):
    def tamper(tensors):
        value = change(tensors.pop(name))
        if value is not None:
            tensors[name] = value.contiguous()

    tamper.__name__ = f"{name.rpartition('.')[2]} {change.__name__}"
    return tamper


def gone(tensor):
    return None


def shorter(tensor):
    return tensor[:-1]


def longer(tensor):
    return torch.cat((tensor, tensor))


def flat(tensor):
    return tensor.flatten()


def floats(tensor):
    return tensor.float()


def halves(tensor):
    return tensor.half()


def bytes_of(tensor):
    return tensor.view(torch.uint8)


def turned(tensor):
    return tensor.flip(0)


def huge(tensor):
    return tensor * 2**40


def added(name, tensor):
    def tamper(tensors):
        tensors[name] = tensor

    tamper.__name__ = name
    return tamper


ORDER = torch.arange(96, dtype=torch.int32)
TENSORS = [
    (GPTQ, out_of_order, f"{DOWN} groups its inputs by activation order"),
    (GPTQ, with_weight, f"tensor '{DOWN}.weight' is none of GPTQ 4-bit g32"),
    (GPTQ, with_bias, f"tensor '{DOWN}.bias' is a bias that this architecture"),
    (GPTQ, past_the_end, f"{DOWN} has zero points past 15, the largest of 4 bits"),
    (
        GPTQ,
        replaced(f"{DOWN}.scales", gone),
        f"'{DOWN}.scales' is missing, which GPTQ 4-bit g32 has",
    ),
    (GPTQ, replaced(f"{DOWN}.qzeros", gone), f"'{DOWN}.qzeros' is missing"),
    (
        GPTQ,
        replaced(f"{DOWN}.qweight", gone),
        f"has a tensor '{DOWN}.g_idx', which is not supported",
    ),
    (GPTQ, replaced(f"{DOWN}.qweight", shorter), "has 88 inputs, which are no whole groups of 32"),
    (GPTQ, replaced(f"{DOWN}.qweight", longer), "qzeros' is I32 (3, 8), but GPTQ 4-bit g32 asks"),
    (GPTQ, replaced(f"{DOWN}.qweight", flat), "is I32 (768,): it must be I32 in 2 dimensions"),
    (GPTQ, replaced(f"{DOWN}.qweight", floats), "is F32 (12, 64): it must be I32 in 2 dimensions"),
    (GPTQ, replaced(f"{DOWN}.qzeros", bytes_of), "qzeros' is U8 (3, 32), but"),
    (GPTQ, replaced(f"{DOWN}.scales", turned), None),
    (GPTQ, replaced(f"{DOWN}.g_idx", shorter), "g_idx' is I32 (95,), but"),
    (AWQ, replaced(f"{DOWN}.scales", gone), f"'{DOWN}.scales' is missing"),
    (AWQ, replaced(f"{DOWN}.qzeros", shorter), "qzeros' is I32 (2, 8), but AWQ 4-bit g32 asks"),
    (AWQ, replaced(f"{DOWN}.qweight", turned), None),
    (AWQ, added(f"{DOWN}.g_idx", ORDER), f"'{DOWN}.g_idx' is none of AWQ 4-bit g32"),
    (
        FOUR,
        replaced(f"{DOWN}.weight_shape", gone),
        "weight_shape' is missing: it must be I64 or I32",
    ),
    (FOUR, replaced(f"{DOWN}.weight_shape", floats), "weight_shape' is F32 (2,): it must be I64"),
    (FOUR, replaced(f"{DOWN}.weight_shape", shorter), "weight_shape' is not the shape of a matrix"),
    (FOUR, replaced(f"{DOWN}.weight_shape", turned), "asks for"),
    (FOUR, replaced(f"{DOWN}.weight_shape", huge), "asks for"),
    (FOUR, replaced(f"{DOWN}.weight_shape", torch.neg), "asks for"),
    (FOUR, replaced(f"{DOWN}.weight_scale", halves), None),
    (FOUR, replaced(f"{DOWN}.weight_scale", shorter), "weight_scale' is BF16 (63, 3), but"),
    (FOUR, added(f"{DOWN}.weight_g_idx", ORDER // 32), None),
    (FOUR, added(f"{DOWN}.weight_g_idx", ORDER % 3), "groups its inputs by activation order"),
    (FOUR, added(f"{DOWN}.input_scale", ORDER), "input_scale' is none of compressed-tensors 4-bit"),
    (FOUR, added("lm_head.weight_scale", ORDER), "'lm_head.weight_scale', which is not supported"),
    (FOUR, added("model.layers.0.self_attn.k_scale", ORDER), "self_attn.k_scale', which is not"),
    (EIGHT, replaced(f"{DOWN}.weight_zero_point", gone), "weight_zero_point' is missing"),
    (
        EIGHT,
        replaced(f"{DOWN}.weight_zero_point", longer),
        "weight_zero_point' is I32 (32, 1), but",
    ),
]


@pytest.mark.parametrize(
    ("form", "tamper", "reason"), TENSORS, ids=lambda v: getattr(v, "__name__", "")
)
def test_tensors_that_are_not_what_they_should_be_are_told(plain, tmp_path, form, tamper, reason):
    folder = tmp_path / "m"
    quantise(plain, folder, form)
    tensors = load_file(folder / "model.safetensors")
    tamper(tensors)
    write_tensors(folder, tensors)
    for load in (read, in_blocks):
        if reason is None:
            load(folder)
        else:
            assert reason in refusal(lambda load=load: load(folder))


def test_a_quantised_matrix_of_another_shape(plain, tmp_path):
    quantise(plain, tmp_path / "m", GPTQ)
    file = tmp_path / "m" / "config.json"
    file.write_text(file.read_text().replace('"intermediate_size": 96', '"intermediate_size": 128'))
    assert refusal(lambda: in_blocks(tmp_path / "m")) == (
        "tensor 'model.layers.0.mlp.gate_proj.weight' has shape (96, 64), but the model needs "
        "(128, 64)."
    )


def test_settings_without_quantised_tensors(plain, tmp_path):
    quantise(plain, tmp_path / "m", GPTQ, which=lambda name: False)
    assert "config.json says GPTQ, but no tensor is" in refusal(lambda: read(tmp_path / "m"))


def test_files_that_are_damaged_or_missing(plain, tmp_path):
    quantise(plain, tmp_path / "m", GPTQ, shards=3)
    shard = tmp_path / "m" / "model-00002-of-00003.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:-9])
    assert f"{shard} is damaged or truncated" in refusal(lambda: read(tmp_path / "m"))
    shard.unlink()
    assert f"{shard} is missing" in refusal(lambda: read(tmp_path / "m"))
    one = tmp_path / "m" / "model.safetensors"
    one.write_bytes(content[:100])
    assert f"{one} is damaged or truncated" in refusal(lambda: read(tmp_path / "m"))


VALUES = [
    *(None, True, False, 0, 1, -1, 3, 4, 8, 32, 64, 2**31, 10**40, 1.5, float("nan")),
    *("", "gptq", "gptq_v2", "group", "x" * 999, [], {}, [1], ["a"], {"a": 1}, [[[]]]),
]


def paths(value, path=()):
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from paths(value[key], (*path, key))


def set_at(value, path, new):
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


@pytest.mark.parametrize("form", [GPTQ, AWQ, FOUR, EIGHT], ids=str)
def test_any_settings_are_used_or_refused(plain, tmp_path, form):
    """Each value in each place, and tensors cut or of another type: one sentence, or a model."""
    folder, draw, refused = tmp_path / "m", random.Random(1), 0
    quantise(plain, folder, form)
    whole = json.loads((folder / "config.json").read_text())
    cases = [(p, v) for p in paths(whole["quantization_config"]) if p for v in VALUES]
    for path, value in draw.sample(cases, min(len(cases), 150)):
        config = json.loads(json.dumps(whole))
        set_at(config["quantization_config"], path, value)
        (folder / "config.json").write_text(json.dumps(config))
        with suppress(DynexitError):
            refused += 1
            in_blocks(folder)
            refused -= 1
    assert refused > 20
