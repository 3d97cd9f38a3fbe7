"""Write a model as a Hugging Face checkpoint that transformers loads and runs identically."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from dynexit.model.config import Json, ModelConfig, RopeConfig
from dynexit.model.families import families
from dynexit.model.transformer import Transformer
from dynexit.model.weights import weight_map


def config_json(config: ModelConfig, dtype: torch.dtype, eos: int | None, bos: int | None) -> Json:
    """The `config.json` that describes `config`, in the layout of transformers 5."""
    return {
        "architectures": [families()[config.family].ARCHITECTURES[0]],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.norm_eps,
        "hidden_act": "silu",
        "attention_bias": config.out_bias,
        "mlp_bias": config.mlp_bias,
        "tie_word_embeddings": config.tie_embeddings,
        "rope_theta": config.rope.theta,
        "rope_parameters": _rope_json(config.rope),
        "sliding_window": None,
        "dtype": str(dtype).removeprefix("torch."),
        "bos_token_id": bos,
        "eos_token_id": eos,
    }


def _rope_json(rope: RopeConfig) -> Json:
    settings: Json = {"rope_type": rope.kind, "rope_theta": rope.theta}
    if rope.kind != "default":
        settings["factor"] = rope.factor
    if rope.kind == "llama3":
        settings["low_freq_factor"] = rope.low_freq_factor
        settings["high_freq_factor"] = rope.high_freq_factor
        settings["original_max_position_embeddings"] = rope.original_max_positions
    return settings


def save_checkpoint(
    model: Transformer,
    folder: Path,
    dtype: torch.dtype = torch.bfloat16,
    eos: int | None = None,
    bos: int | None = None,
) -> None:
    """Write `config.json`, `generation_config.json` and `model.safetensors` into `folder`.

    The weights are written under another name and renamed, so a kill never leaves half a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ours, tensors = dict(model.state_dict()), {}
    for name, parts in weight_map(model.config).items():
        for part in parts:
            tensors[part.name] = ours[name][part.start : part.stop].to("cpu", dtype).contiguous()
    partial = folder / "model.safetensors.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    config = config_json(model.config, dtype, eos, bos)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    generation = {"eos_token_id": eos, "bos_token_id": bos}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    partial.replace(folder / "model.safetensors")
