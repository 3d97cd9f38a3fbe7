"""Checkpoints as GPTQ, AWQ and compressed-tensors write them, out of unquantised ones.

Weights are rounded to the nearest value and packed here by what the formats' own libraries do, one
value after the other; nothing of the reader is used. `tests/model/affine_by_others.safetensors`
holds what these libraries packed themselves.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

TINY = 2.0**-23  # the scale of a group of zeros, which fp16 has
EVEN_FIRST = (0, 2, 4, 6, 1, 3, 5, 7)  # outputs in the order in which AWQ's words hold them


@dataclass(frozen=True)
class Form:
    """A format with its settings; `changes` are made to its quantization_config."""

    method: str
    bits: int = 4
    group: int = 32
    symmetric: bool = True
    dtype: torch.dtype = torch.float16
    changes: dict = field(default_factory=dict, hash=False)

    @property
    def v2(self) -> bool:
        return self.changes.get("checkpoint_format") == "gptq_v2"

    def __str__(self) -> str:
        kind = "sym" if self.symmetric else "asym"
        return f"{self.method}{'-v2' * self.v2}-{self.bits}-g{self.group}-{kind}"


V2 = {"checkpoint_format": "gptq_v2"}
FORMS = [
    *(Form("gptq", 4, group) for group in (32, 64, 128, -1)),
    *(Form("gptq", 4, group, symmetric=False) for group in (32, 128, -1)),
    *(Form("gptq", 4, 64, symmetric, changes=V2) for symmetric in (True, False)),
    *(Form("gptq", 8, group) for group in (32, -1)),
    *(Form("gptq", 8, group, symmetric=False, changes=V2) for group in (32, 128)),
    *(Form("awq", 4, group, symmetric=False) for group in (32, 64, 128, -1)),
    *(Form("compressed-tensors", 4, group, dtype=torch.bfloat16) for group in (32, 128, -1)),
    Form("compressed-tensors", 4, 64, symmetric=False),
    *(Form("compressed-tensors", 8, group, dtype=torch.bfloat16) for group in (128, -1)),
    *(Form("compressed-tensors", 8, group, symmetric=False) for group in (32, -1)),
]
FEW = {  # one of each kind
    "gptq": Form("gptq", 4, 32, symmetric=False),
    "awq": Form("awq", 4, 32, symmetric=False),
    "compressed-4": Form("compressed-tensors", 4, 32, dtype=torch.bfloat16),
    "compressed-8": Form("compressed-tensors", 8, -1, symmetric=False),
    "gptq-8": Form("gptq", 8, -1),
}


def rounded(weight: np.ndarray, form: Form) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values [outputs, inputs], zero points and scales [outputs, groups]."""
    outputs, inputs = weight.shape
    grouped = weight.reshape(outputs, -1, inputs if form.group == -1 else form.group)
    most, middle = 2**form.bits - 1, 2 ** (form.bits - 1)
    if form.symmetric:
        scales = np.maximum(np.abs(grouped).max(-1) / (middle - 0.5), TINY)
        zeros = np.full(scales.shape, middle)
    else:
        low, high = (np.minimum(grouped.min(-1), 0), np.maximum(grouped.max(-1), 0))
        scales = np.maximum((high - low) / most, TINY)
        zeros = np.clip(np.rint(-low / scales), 1, most).astype(int)
    scales = torch.from_numpy(scales).to(form.dtype)
    exact = scales.double().numpy()[..., None]
    values = np.clip(np.rint(grouped / exact) + zeros[..., None], 0, most).astype(int)
    return values.reshape(outputs, inputs), zeros, scales


def words(values: np.ndarray, bits: int) -> torch.Tensor:
    """[..., N] -> int32 [..., N * bits / 32], the first value in the lowest bits."""
    each = 32 // bits
    missing = -values.shape[-1] % each
    values = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])
    packed = np.zeros((*values.shape[:-1], values.shape[-1] // each), np.uint64)
    for place in range(each):
        packed |= values[..., place::each].astype(np.uint64) << np.uint64(bits * place)
    return torch.from_numpy(packed.astype(np.uint32).view(np.int32))


def packed(weight: torch.Tensor, form: Form) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A matrix's tensors by the ends of their names, and the weights that they stand for."""
    values, zeros, scales = rounded(weight.double().numpy(), form)
    grouped = values.reshape(*zeros.shape, -1) - zeros[..., None]
    stands_for = (grouped * scales.double().numpy()[..., None]).reshape(values.shape)
    pack = {"gptq": pack_gptq, "awq": pack_awq, "compressed-tensors": pack_compressed}
    tensors = pack[form.method](values, zeros, scales, form)
    whole = {end: tensor.contiguous() for end, tensor in tensors.items()}
    return whole, torch.from_numpy(stands_for.astype(np.float32))


def pack_gptq(values, zeros, scales, form):
    """GPTQModel, `nn_modules/qlinear/__init__.py`: `pack_original`; the first version's zero points
    are 1 less (`convert_gptq_v2_to_v1_format`).
    """
    inputs = values.shape[1]
    return {
        "qweight": words(values, form.bits).T,
        "qzeros": words((zeros if form.v2 else zeros - 1).T, form.bits),
        "scales": scales.T,
        "g_idx": (torch.arange(inputs) // (inputs // zeros.shape[1])).int(),
    }


def pack_awq(values, zeros, scales, form):
    """AutoAWQ, `modules/linear/gemm.py`: `from_linear`."""

    def even_first(matrix):
        return matrix.reshape(len(matrix), -1, 8)[..., EVEN_FIRST].reshape(len(matrix), -1)

    return {
        "qweight": words(even_first(values.T), form.bits),
        "qzeros": words(even_first(zeros.T), form.bits),
        "scales": scales.T,
    }


def pack_compressed(values, zeros, scales, form):
    """compressed-tensors, `compressors/pack_quantized`: signed numbers, moved to be packed."""
    tensors = {
        "weight_packed": words(values, form.bits),
        "weight_scale": scales,
        "weight_shape": torch.tensor(values.shape),
    }
    if not form.symmetric:
        tensors["weight_zero_point"] = words(zeros.T, form.bits).T
    return tensors


def settings_of(form: Form) -> dict:
    """A `quantization_config` as the libraries write it."""
    if form.method == "gptq":
        own = {
            "bits": form.bits,
            "group_size": form.group,
            "sym": form.symmetric,
            "desc_act": False,
            "damp_percent": 0.01,
            "checkpoint_format": "gptq",
            "true_sequential": True,
        }
    elif form.method == "awq":
        own = {
            "bits": form.bits,
            "group_size": form.group,
            "zero_point": True,
            "version": "gemm",
            "modules_to_not_convert": None,
        }
    else:
        own = {
            "config_groups": {
                "group_0": {
                    "targets": ["Linear"],
                    "weights": {
                        "num_bits": form.bits,
                        "type": "int",
                        "symmetric": form.symmetric,
                        "strategy": "channel" if form.group == -1 else "group",
                        "group_size": None if form.group == -1 else form.group,
                        "dynamic": False,
                        "actorder": None,
                        "block_structure": None,
                        "observer": "minmax",
                        "observer_kwargs": {},
                    },
                    "input_activations": None,
                    "output_activations": None,
                }
            },
            "format": "pack-quantized",
            "ignore": ["lm_head"],
            "kv_cache_scheme": None,
            "quantization_status": "compressed",
        }
    return {"quant_method": form.method, **own, **form.changes}


def is_quantised(name: str) -> bool:
    return name.endswith("_proj.weight")


def quantise(source: Path, target: Path, form: Form, shards=1, which=is_quantised):
    """Write the checkpoint in `source` quantised; returns the weights that it then has."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors*"))
    stored, expected = {}, {}
    for name, tensor in load_file(source / "model.safetensors").items():
        if which(name):
            pieces, expected[name] = packed(tensor, form)
            stored |= {f"{name.removesuffix('weight')}{end}": t for end, t in pieces.items()}
        else:
            stored[name] = expected[name] = tensor.to(form.dtype)
    write_tensors(target, stored, shards)
    file = target / "config.json"
    config = {**json.loads(file.read_text()), "quantization_config": settings_of(form)}
    file.write_text(json.dumps(config))
    return expected


def write_tensors(folder: Path, tensors: dict[str, torch.Tensor], shards=1) -> None:
    """One file, or several among which the tensors of a matrix are spread."""
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, files = sorted(tensors), {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        own = names[number::shards]
        save_file({name: tensors[name] for name in own}, folder / file)
        files |= dict.fromkeys(own, file)
    index = {"metadata": {}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
