"""Low-rank differences of a model's matrices (LoRA, arXiv 2106.09685), as PEFT has them on disk.

A matrix of ours is one tensor of a checkpoint or several: each has a pair of its own, A [r, inputs]
and B [outputs, r], and becomes W + B A. Not responsible for reading them (`model/adapters.py`).
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dynexit.model.files import make_folder, replacing
from dynexit.model.saving import write_json
from dynexit.model.transformer import Transformer
from dynexit.model.weights import Part, weight_map
from dynexit.training.recipe import Adapter


class LowRank(nn.Module):
    """What is added to a matrix of the tensors `parts`."""

    def __init__(self, parts: tuple[Part, ...], rank: int, device: torch.device) -> None:
        super().__init__()
        self.parts = parts
        self.down, self.up = nn.ParameterList(), nn.ParameterList()
        for part in parts:
            rows, inputs = part.shape
            self.down.append(torch.randn(rank, inputs, device=device) * inputs**-0.5)
            self.up.append(torch.zeros(rows, rank, device=device))

    def forward(self, weight: Tensor) -> Tensor:
        """[outputs, inputs] -> the same, with the difference added."""
        pairs = zip(self.up, self.down, strict=True)
        return weight + torch.cat([up @ down for up, down in pairs])


def adapt(model: Transformer, settings: Adapter) -> None:
    """Freeze a model's weights, and give every matrix of its layers a difference to learn."""
    model.requires_grad_(False)
    for name, parts in weight_map(model.config).items():
        module = model.get_submodule(name.rpartition(".")[0])
        if isinstance(module, nn.Linear) and name.startswith("layers."):
            rank = settings.rank_of(int(name.split(".")[1]))
            if name.endswith(".weight"):
                low = LowRank(parts, rank, module.weight.device)
                parametrize.register_parametrization(module, "weight", low)


def merge(model: Transformer) -> None:
    """Add the differences to the weights: the model is one like any other again."""
    for module in list(model.modules()):
        if isinstance(module, nn.Linear) and parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")


def save_adapter(model: Transformer, folder: Path, base: str) -> None:
    """Write the differences as PEFT's `adapter_model.safetensors` and `adapter_config.json`.

    Args:
        base: what the model was before: a folder, file or hub id.

    Raises:
        DynexitError: a file that cannot be written.
    """
    make_folder(folder)
    tensors, ranks = {}, {}
    for part, down, up in _pairs(model):
        name = part.name.removesuffix(".weight")
        ranks[name] = down.shape[0]
        for letter, matrix in (("A", down), ("B", up)):
            held = matrix.detach().to("cpu", torch.bfloat16).contiguous()
            tensors[f"base_model.model.{name}.lora_{letter}.weight"] = held
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "target_modules": sorted({name.rpartition(".")[2] for name in ranks}),
        "r": min(ranks.values()),
        "lora_alpha": min(ranks.values()),
        "rank_pattern": ranks,
        "alpha_pattern": ranks,  # as large: nothing is scaled
        "lora_dropout": 0.0,
        "bias": "none",
    }
    with replacing(folder / "adapter_model.safetensors") as partial:
        save_file(tensors, partial, metadata={"format": "pt"})
    write_json(folder / "adapter_config.json", config)


def _pairs(model: Transformer) -> Iterator[tuple[Part, Tensor, Tensor]]:
    for module in model.modules():
        if isinstance(module, LowRank):
            yield from zip(module.parts, module.down, module.up, strict=True)
