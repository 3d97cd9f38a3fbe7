"""A checkpoint straight into the native library: weights are held once, and no more."""

from pathlib import Path

import torch

from dynexit.model.config import ModelConfig
from dynexit.model.loading import filled_parts, without_memory
from dynexit.model.native.binding import find_library, runtimes
from dynexit.model.native.transformer import FORMATS, NativeTransformer

CPU = torch.device("cpu")


def load_native(folder: Path, config: ModelConfig, dtype: torch.dtype) -> NativeTransformer:
    """Pack a checkpoint part by part; each is let go before the next is read.

    Raises:
        DynexitError: as `load_model`.
    """
    native, model = NativeTransformer(config, dtype), without_memory(config, dtype)
    for part in filled_parts(model, folder, CPU):
        if part is None:
            native.pack_ends(model)
        else:
            native.pack_layer(part, model.layer(part))
        for module in model.part(part):
            module.to_empty(device="meta")
    return native


def obstacle(config: ModelConfig, dtype: torch.dtype, *devices: torch.device) -> str | None:
    """Why the native runtime cannot run a model on these devices, if so."""
    if find_library() is None:
        return "its library was not built: the install found no C++ compiler"
    if not runtimes():
        return "its library does not load on this machine"
    if others := [device for device in devices if device.type != "cpu"]:
        return f"it runs on a CPU, not on {others[0]}"
    if len(devices) > 1:
        return f"it runs on one device, not on {len(devices)}"
    if dtype not in FORMATS:
        return f"it computes in bf16 and fp32, not in {str(dtype).removeprefix('torch.')}"
    odd = [n for n in (config.hidden_size, config.intermediate_size, config.head_dim) if n % 2]
    return f"it needs even sizes, and this model has {odd[0]}" if odd else None
