"""Loads a checkpoint straight into the native library, so that weights are in memory only once."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Parameter

from dynexit.model.config import ModelConfig
from dynexit.model.loading import filled_modules, give_memory, without_memory
from dynexit.model.native.binding import find_library, runtimes
from dynexit.model.native.transformer import NativeTransformer
from dynexit.model.native.weights import FORMATS
from dynexit.model.transformer import Transformer
from dynexit.model.weight_files import check_weights

CPU = torch.device("cpu")


class Staging:
    """One block of memory for the matrices of all layers, one after the other.

    Blocks of their own, allocated and freed, would break up the heap and stay with the process.
    """

    def __init__(self, model: Transformer) -> None:
        sizes = [sum(map(Tensor.numel, m.parameters())) for m in model.layer(0).children()]
        self._memory = torch.empty(max(sizes), dtype=model.dtype)
        self._ends = (model.embedding, model.final_norm, model.head)

    def give(self, module: torch.nn.Module, device: torch.device) -> None:
        """Memory for a module's weights, until the next asks; for the model's ends, their own."""
        if module in self._ends:
            return give_memory(module, device)
        rest = self._memory
        for name, meta in list(module.named_parameters()):
            mine, rest = rest[: meta.numel()], rest[meta.numel() :]
            module.register_parameter(name, Parameter(mine.view(meta.shape), requires_grad=False))
        return None


def load_native(folder: Path, config: ModelConfig, dtype: torch.dtype) -> NativeTransformer:
    """Pack a checkpoint matrix by matrix; each is let go before the next is read.

    Raises:
        DynexitError: as `load_model`.
    """
    check_weights(folder, config)
    native, model = NativeTransformer(config, dtype), without_memory(config, dtype)
    staging = Staging(model)
    for name in filled_modules(model, folder, CPU, memory=staging.give):
        native.pack(name, model.get_submodule(name))
        model.get_submodule(name).to_empty(device="meta")
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
