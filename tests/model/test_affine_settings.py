"""Quantised safetensors whose settings are not supported, or not what tensors bear out, cost one
sentence.
"""

import json
import random
from contextlib import suppress

import pytest
from affine_checkpoints import Form, quantise, settings_of
from affine_refused import AWQ, DOWN, EIGHT, FOUR, GPTQ, in_blocks
from tiny_checkpoints import read, refusal

from dynexit.errors import DynexitError

EVEN = Form("gptq")


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
def test_settings_that_do_not_run_or_fit_are_told(unquantised, tmp_path, form, changes, reason):
    folder = tmp_path / "m"
    quantise(unquantised, folder, form)
    read(folder)
    change_settings(folder, changes)
    for load in (read, in_blocks):
        assert reason in refusal(lambda load=load: load(folder))


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
def test_any_settings_are_used_or_refused(unquantised, tmp_path, form):
    """Each value in each place, and tensors cut or of another type: one sentence, or a model."""
    folder, draw, refused = tmp_path / "m", random.Random(1), 0
    quantise(unquantised, folder, form)
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
