"""GGUF files of small models, as llama.cpp's own converter lays them out."""

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf_blocks import quantised
from tiny_checkpoints import random_model

# Blocks of 32 and of 256 need longer rows than the other tests' models have.
WIDE = {"hidden_size": 64, "intermediate_size": 96}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def their_name(name: str) -> str:
    """llama.cpp's name of a tensor of a Hugging Face checkpoint."""
    bare, _, kind = name.rpartition(".")
    at = bare.split(".")
    if at[:2] == ["model", "layers"]:
        return f"blk.{at[2]}.{NAMES['.'.join(at[3:])]}.{kind}"
    return f"{NAMES[bare]}.{kind}"


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys as llama.cpp's converter orders them for Llama."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def write_gguf(file: Path, family="llama", variant="gqa", kind=Type.F32, kinds=None, **changes):
    """A random model's GGUF file, matrices in `kind`; returns the transformers model.

    Args:
        kinds: of some tensors, by llama.cpp's names for them without `blk.N.` and `.weight`.
    """
    model = random_model(family, variant, **changes)
    write_model(file, model, lambda name: (kinds or {}).get(name, kind))
    return model


def write_model(
    file: Path, model, kind_of=lambda _: Type.F32, metadata=lambda _: None, tensors=(), **options
):
    """Write a transformers model's weights; `metadata` and `tensors` are added.

    Args:
        options: of the writer.
    """
    config = model.config
    writer = gguf.GGUFWriter(str(file), config.model_type, **options)
    describe(writer, config)
    metadata(writer)
    tied = config.tie_word_embeddings
    for name, value in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        theirs, values = their_name(name), value.float().numpy()
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
        bare = theirs.split(".")[-2]
        if config.model_type == "llama" and bare in heads:
            values = permuted(values, heads[bare])
        if values.ndim == 1:
            writer.add_tensor(theirs, values)
        else:
            chosen = kind_of(bare)
            writer.add_tensor(theirs, quantised(values, chosen), raw_dtype=chosen)
    for name, values in tensors:
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def describe(writer, config):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def add_tokenizer(writer, folder: Path):
    """The byte-level tokenizer of a checkpoint's folder."""
    read = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = sorted(read["model"]["vocab"], key=read["model"]["vocab"].get)
    special = {token["content"] for token in read["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocabulary)
    kinds = gguf.TokenType
    writer.add_token_types([kinds.CONTROL if t in special else kinds.NORMAL for t in vocabulary])
    merges = read["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_eos_token_id(vocabulary.index("<|endoftext|>"))
    writer.add_add_bos_token(False)


def tensors_of(model) -> dict[str, torch.Tensor]:
    """Parameters of one of our models."""
    return dict(model.named_parameters())
