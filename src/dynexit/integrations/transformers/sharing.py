"""Our forward pass over the weights of a model that transformers has loaded: nothing is copied.

Not responsible for families that our forward pass does not know: see `adapter.py`.
"""

import json
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.families import families, parse_config
from dynexit.model.loading import without_memory
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


def known_config(model: Any) -> ModelConfig | None:
    """The shape of a loaded model, where it is one that our forward pass runs exactly.

    None for other families and settings, for classes from elsewhere than transformers, and where
    hooks or other kinds of modules (adapters, quantised layers) stand between weights and result.
    """
    named = {name for module in families().values() for name in module.ARCHITECTURES}
    kind = type(model)
    if kind.__name__ not in named or not kind.__module__.startswith("transformers.models."):
        return None
    if not _is_plain(model):
        return None
    read = json.loads(model.config.to_json_string(use_diff=False))
    try:
        return parse_config({**read, "architectures": [kind.__name__]})
    except DynexitError:
        return None


def _is_plain(model: Any) -> bool:
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    linear = [m for m in model.modules() if any(p.ndim == 2 for p in m.parameters(recurse=False))]
    hooked = any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    plain = all(type(m) in (nn.Linear, nn.Embedding) for m in linear)
    spread = len(set((getattr(model, "hf_device_map", None) or {}).values())) > 1
    usual = type(table) is nn.Embedding and type(head) is nn.Linear and head.bias is None
    return usual and plain and not spread and not hooked


def sharing(model: Any, config: ModelConfig) -> Transformer:
    """A `Transformer` that holds `model`'s own parameters."""
    ours, base = without_memory(config, model.dtype), model.model
    ours.embedding, ours.head = base.embed_tokens, model.lm_head
    _share_norm(ours.final_norm, base.norm)
    for index, layer in enumerate(base.layers):
        _share_layer(ours.layer(index), layer)
    return ours


def copied_layer(model: Any, config: ModelConfig, index: int) -> DecoderLayer:
    """Decoder layer `index` of a known model with weights of its own, for who packs them."""
    tensors, prefix = model.state_dict(), f"layers.{index}."
    with torch.device("meta"):
        layer = DecoderLayer(config, index).to(model.dtype).requires_grad_(False)
    layer.to_empty(device=model.device)
    for name, parts in weight_map(config).items():
        if name.startswith(prefix):
            ours = layer.get_parameter(name.removeprefix(prefix))
            for part in parts:
                ours[part.start : part.stop] = tensors[part.name]
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
