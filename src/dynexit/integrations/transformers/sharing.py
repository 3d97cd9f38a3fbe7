"""Our forward pass over the weights of a model that transformers has loaded: nothing is copied.

Not responsible for families that our forward pass does not know: see `adapter.py`.
"""

import json
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynexit.errors import DynexitError
from dynexit.integrations.transformers.plain import oddity
from dynexit.model.config import ModelConfig
from dynexit.model.families import families, parse_config
from dynexit.model.loading import without_memory
from dynexit.model.rope import RotaryTable
from dynexit.model.transformer import DecoderLayer, RMSNorm, Transformer
from dynexit.model.weights import weight_map


class Stacked(nn.Module):
    """Several linear layers of another model as one: their outputs side by side."""

    def __init__(self, *parts: nn.Linear) -> None:
        super().__init__()
        self.parts: Any = nn.ModuleList(parts)

    def forward(self, hidden: Tensor) -> Tensor:
        """[N, D] -> [N, the sum of the parts' outputs]."""
        outputs = [F.linear(hidden, part.weight, part.bias) for part in self.parts]
        return torch.cat(outputs, dim=-1)


def shape_of(model: Any) -> ModelConfig:
    """The shape of a loaded model that our forward pass runs exactly.

    Whether the head is the embedding is asked of the weights: a checkpoint may hold both, whatever
    its configuration says.

    Raises:
        DynexitError: another family or setting, a class from elsewhere than transformers, or more
            between weights and result than the family's own code.
    """
    named = [name for module in families().values() for name in module.ARCHITECTURES]
    kind = type(model)
    if kind.__name__ not in named or not kind.__module__.startswith("transformers.models."):
        raise DynexitError(f"only {', '.join(named)} of transformers are known.")
    if what := oddity(model):
        raise DynexitError(f"{what}.")
    read = json.loads(model.config.to_json_string(use_diff=False))
    config = parse_config({**read, "architectures": [kind.__name__]})
    return replace(config, tie_embeddings=model.lm_head.weight is model.model.embed_tokens.weight)


def sharing(model: Any, config: ModelConfig) -> Transformer:
    """A `Transformer` that holds `model`'s own parameters and frequencies."""
    ours, base = without_memory(config, model.dtype), model.model
    frequencies = base.rotary_emb.inv_freq.float().cpu()  # `model.to(dtype)` rounds them, too
    ours.rotary = RotaryTable(config.rope, config.head_dim, frequencies)
    ours.embedding, ours.head = base.embed_tokens, model.lm_head
    _share_norm(ours.final_norm, base.norm)
    for index, layer in enumerate(base.layers):
        _share_layer(ours.layer(index), layer)
    return ours


def copied_layer(model: Any, config: ModelConfig, index: int) -> DecoderLayer:
    """Decoder layer `index` of a known model with weights of its own, for packing."""
    prefix = f"layers.{index}."
    with torch.device("meta"):
        layer = DecoderLayer(config, index).to(model.dtype).requires_grad_(False)
    layer.to_empty(device=model.device)
    for name, parts in weight_map(config).items():
        if name.startswith(prefix):
            ours = layer.get_parameter(name.removeprefix(prefix))
            for part in parts:
                ours[part.start : part.stop] = model.get_parameter(part.name)
    return layer


def _share_layer(ours: DecoderLayer, theirs: Any) -> None:
    attention, mlp = theirs.self_attn, theirs.mlp
    ours.add_module("qkv", Stacked(attention.q_proj, attention.k_proj, attention.v_proj))
    ours.add_module("gate_up", Stacked(mlp.gate_proj, mlp.up_proj))
    ours.out, ours.down = attention.o_proj, mlp.down_proj
    _share_norm(ours.attention_norm, theirs.input_layernorm)
    _share_norm(ours.mlp_norm, theirs.post_attention_layernorm)
    if ours.query_norm is not None and ours.key_norm is not None:
        _share_norm(ours.query_norm, attention.q_norm)
        _share_norm(ours.key_norm, attention.k_norm)


def _share_norm(ours: RMSNorm, theirs: Any) -> None:
    ours.weight = theirs.weight
