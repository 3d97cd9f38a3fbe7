"""A checkpoint of the Llama family as a GGUF file, without a tokenizer: prompts are token ids."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.loading import load_model, load_shape
from dynexit.model.rope import inverse_frequencies
from dynexit.model.transformer import Transformer


def write_gguf(folder: Path, file: Path, kind: str) -> None:
    """Write `folder`'s weights; matrices in `kind` (BF16 or Q8_0), vectors in fp32.

    Raises:
        DynexitError: a family other than Llama's, whose tensors would need other names.
    """
    import gguf

    config = load_shape(folder)
    if config.family not in ("llama", "mistral"):
        raise DynexitError(
            f"a GGUF file is written for Llama's family, not for {config.family}: leave the peer "
            "llama.cpp out."
        )
    model = load_model(folder, config, torch.float32, torch.device("cpu"))
    writer = gguf.GGUFWriter(str(file), "llama")
    _describe(writer, config)
    number = getattr(gguf.GGMLQuantizationType, kind)
    for name, tensor in _tensors(model):
        values = tensor.numpy()
        if tensor.ndim == 1:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: Any, config: ModelConfig) -> None:
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope.theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")


def _tensors(model: Transformer) -> list[tuple[str, torch.Tensor]]:
    config = model.config
    queries, keys = (n * config.head_dim for n in (config.num_heads, config.num_kv_heads))
    found = [
        ("token_embd.weight", model.embedding.weight),
        ("output_norm.weight", model.final_norm.weight),
    ]
    if not config.tie_embeddings:
        found.append(("output.weight", model.head.weight))
    if config.rope.kind != "default":
        found.append(("rope_freqs.weight", _stretched(config)))
    for index in range(config.num_layers):
        layer, prefix = model.layer(index), f"blk.{index}"
        query, key, value = layer.qkv.weight.split((queries, keys, keys))
        gate, up = layer.gate_up.weight.chunk(2)
        found += [
            (f"{prefix}.attn_norm.weight", layer.attention_norm.weight),
            (f"{prefix}.attn_q.weight", _paired(query, config.num_heads)),
            (f"{prefix}.attn_k.weight", _paired(key, config.num_kv_heads)),
            (f"{prefix}.attn_v.weight", value),
            (f"{prefix}.attn_output.weight", layer.out.weight),
            (f"{prefix}.ffn_norm.weight", layer.mlp_norm.weight),
            (f"{prefix}.ffn_gate.weight", gate),
            (f"{prefix}.ffn_up.weight", up),
            (f"{prefix}.ffn_down.weight", layer.down.weight),
        ]
    return [(name, tensor.detach().contiguous()) for name, tensor in found]


def _stretched(config: ModelConfig) -> torch.Tensor:
    """By how much the model's RoPE turns each pair of dimensions slower than plain RoPE."""
    plain = replace(config.rope, kind="default")
    frequencies = (inverse_frequencies(rope, config.head_dim) for rope in (plain, config.rope))
    return torch.div(*frequencies)


def _paired(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Dimensions that turn together become neighbours, as llama.cpp wants them."""
    halves = weight.view(heads, 2, -1, weight.shape[1])
    return halves.transpose(1, 2).reshape(weight.shape)
