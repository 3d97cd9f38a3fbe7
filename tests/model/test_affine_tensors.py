"""Quantised safetensors whose tensors are not what they should be cost one sentence."""

import pytest
import torch
from affine_checkpoints import quantise, write_tensors
from affine_refused import AWQ, DOWN, EIGHT, FOUR, GPTQ, in_blocks
from safetensors.torch import load_file
from tiny_checkpoints import read, refusal


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
def test_tensors_that_are_not_what_they_should_be_are_told(
    unquantised, tmp_path, form, tamper, reason
):
    folder = tmp_path / "m"
    quantise(unquantised, folder, form)
    tensors = load_file(folder / "model.safetensors")
    tamper(tensors)
    write_tensors(folder, tensors)
    for load in (read, in_blocks):
        if reason is None:
            load(folder)
        else:
            assert reason in refusal(lambda load=load: load(folder))


def test_a_quantised_matrix_of_another_shape(unquantised, tmp_path):
    quantise(unquantised, tmp_path / "m", GPTQ)
    file = tmp_path / "m" / "config.json"
    file.write_text(file.read_text().replace('"intermediate_size": 96', '"intermediate_size": 128'))
    assert refusal(lambda: in_blocks(tmp_path / "m")) == (
        "tensor 'model.layers.0.mlp.gate_proj.weight' has shape (96, 64), but the model needs "
        "(128, 64)."
    )


def test_settings_without_quantised_tensors(unquantised, tmp_path):
    quantise(unquantised, tmp_path / "m", GPTQ, which=lambda name: False)
    assert "config.json says GPTQ, but no tensor is" in refusal(lambda: read(tmp_path / "m"))


def test_files_that_are_damaged_or_missing(unquantised, tmp_path):
    quantise(unquantised, tmp_path / "m", GPTQ, shards=3)
    shard = tmp_path / "m" / "model-00002-of-00003.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:-9])
    assert f"{shard} is damaged or truncated" in refusal(lambda: read(tmp_path / "m"))
    shard.unlink()
    assert f"{shard} is missing" in refusal(lambda: read(tmp_path / "m"))
    one = tmp_path / "m" / "model.safetensors"
    one.write_bytes(content[:100])
    assert f"{one} is damaged or truncated" in refusal(lambda: read(tmp_path / "m"))
