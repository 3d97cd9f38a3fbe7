"""Write a model as a Hugging Face checkpoint that transformers loads and runs identically."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file

from dynexit.model.config import Json, ModelConfig, RopeConfig
from dynexit.model.families import family
from dynexit.model.files import make_folder, replacing
from dynexit.model.transformer import Transformer
from dynexit.model.weights import weight_map


def config_json(config: ModelConfig, dtype: torch.dtype, eos: int | None, bos: int | None) -> Json:
    """The `config.json` that describes `config`, in the layout of transformers 5, unless its family
    has its own.
    """
    own: Callable[[Json], Json] | None = getattr(family(config.family), "written", None)
    described = _described(config, dtype, eos, bos)
    if config.mask_token is not None:
        described["mask_token_id"] = config.mask_token
    return described if own is None else own(described)


def _described(config: ModelConfig, dtype: torch.dtype, eos: int | None, bos: int | None) -> Json:
    return {
        "architectures": [family(config.family).ARCHITECTURES[0]],
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
        "attention_bias": config.qkv_bias,
        "attention_out_bias": config.out_bias,
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
    if rope.kind in ("linear", "llama3"):
        settings["factor"] = rope.factor
    if rope.kind == "factors":
        settings["factors"] = list(rope.factors)
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
    max_shard_size: str = "4GB",
) -> None:
    """Write `config.json`, `generation_config.json` and safetensors into `folder`.

    Weights are copied one shard at a time, written under another name and renamed, so that a kill
    never leaves half a file under its final name.

    Raises:
        DynexitError: a file that cannot be written.
    """
    make_folder(folder)
    ours, tensors = dict(model.state_dict()), {}
    for name, parts in weight_map(model.config).items():
        tensors.update({p.name: ours[name][p.start : p.stop] for p in parts})
    # planned on shapes alone: slices of one matrix share storage, which would confuse the planner
    plan = {n: torch.empty(t.shape, dtype=dtype, device="meta") for n, t in tensors.items()}
    shards = split_torch_state_dict_into_shards(plan, max_shard_size=max_shard_size)
    for file, names in shards.filename_to_tensors.items():
        copies = {n: tensors[n].to("cpu", dtype, copy=True).contiguous() for n in names}
        with replacing(folder / file) as partial:
            save_file(copies, partial, metadata={"format": "pt"})
    for stale in set(folder.glob("model*.safetensors*")) - {
        folder / name for name in shards.filename_to_tensors
    }:
        stale.unlink()
    if shards.is_sharded:
        index = {"metadata": shards.metadata, "weight_map": shards.tensor_to_filename}
        write_json(folder / "model.safetensors.index.json", index)
    write_json(folder / "config.json", config_json(model.config, dtype, eos, bos))
    write_json(folder / "generation_config.json", {"eos_token_id": eos, "bos_token_id": bos})


def write_json(file: Path, value: Json) -> None:
    """Write `value`, whole or not at all."""
    with replacing(file) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n")
