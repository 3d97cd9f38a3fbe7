"""Types of numbers in GGUF files: which of them run, and their blocks as floats."""

import numpy as np
import torch
from gguf.constants import GGMLQuantizationType as Type
from gguf.quants import dequantize

from dynexit.errors import DynexitError
from dynexit.model.gguf.header import MappedFile, Tensor

FLOATS = {Type.F32: torch.float32, Type.F16: torch.float16, Type.BF16: torch.bfloat16}
QUANTISED = (
    *(Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1),
    *(Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.IQ4_NL, Type.IQ4_XS),
)
ROWS = 4096  # dequantised at once: the arithmetic needs several times the memory of its result


def check_type(tensor: Tensor) -> None:
    """Refuse a type that does not run, by name."""
    if tensor.type in FLOATS or tensor.type in QUANTISED:
        return
    known = ", ".join(kind.name for kind in (*FLOATS, *QUANTISED))
    raise DynexitError(
        f"{tensor.file}: tensor {tensor.name!r} is {tensor.type.name}, which is not supported: "
        f"use a file whose tensors are {known}."
    )


def floats_of(tensor: Tensor, file: MappedFile | None = None) -> torch.Tensor:
    """A tensor's numbers: as they lie there, or fp32 where they are quantised.

    Args:
        file: as for `Tensor.read`.
    """
    rows = tensor.read(file)
    if tensor.type in FLOATS:
        return torch.from_numpy(rows.copy()).view(FLOATS[tensor.type]).view(tensor.shape)
    result = np.empty((rows.shape[0], tensor.shape[-1]), np.float32)
    with np.errstate(all="ignore"):  # numbers that are none stay so, and decoding says it
        for start in range(0, len(rows), ROWS):
            result[start : start + ROWS] = dequantize(rows[start : start + ROWS], tensor.type)
    return torch.from_numpy(result).view(tensor.shape)
