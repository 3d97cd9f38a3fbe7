"""The model in a GGUF file: its shape, as in a `config.json`, and the tokens that end its texts."""

from collections.abc import Mapping
from math import inf
from typing import Any

import numpy as np

from dynexit.errors import DynexitError
from dynexit.model.config import Json, ModelConfig
from dynexit.model.families import families, parse_config
from dynexit.model.gguf.blocks import check_type, floats_of
from dynexit.model.gguf.header import Header

EMBEDDING, HEAD, FREQUENCIES = "token_embd.weight", "output.weight", "rope_freqs.weight"
ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")
# key of config.json -> key of the metadata, after the architecture's name
SIZES = {
    "num_hidden_layers": "block_count",
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
}
NUMBERS = {"rms_norm_eps": "attention.layer_norm_rms_epsilon", "rope_theta": "rope.freq_base"}
FACTORS = ("rope.scaling.factor", "rope.scale_linear")
MOST = 2**31


def shape_of(header: Header) -> ModelConfig:
    """The shape of the model.

    Raises:
        DynexitError: an architecture or a feature that does not run, by name.
    """
    try:
        return parse_config(config_of(header))
    except DynexitError as error:
        raise DynexitError(str(error).replace("config.json", str(header.file))) from error
    except (TypeError, ValueError, ArithmeticError) as error:
        raise DynexitError(f"{header.file} has metadata of the wrong kind: {error}.") from error


def config_of(header: Header) -> Json:
    """The model in the words of `config.json`.

    Raises:
        DynexitError: an architecture or a feature that does not run, by name.
    """
    metadata, tensors = header.metadata, header.tensors
    family = metadata.get("general.architecture")
    if not isinstance(family, str) or family not in families():
        known = ", ".join(families())
        raise DynexitError(
            f"{header.file} holds a {family!r} model, which is not supported: use {known}."
        )
    if EMBEDDING not in tensors:
        raise DynexitError(
            f"{header.file} has no tensor {EMBEDDING!r}: it is not a complete model."
        )
    own = {k.removeprefix(f"{family}."): v for k, v in metadata.items()}
    _check_kinds(header, own)
    _refuse(header, own)
    sizes = {ours: own[key] for ours, key in SIZES.items() if key in own}
    # 1e-5 is 9.99999974e-06 in the file's fp32: meant is the shortest number that is the same there
    sizes |= {k: float(str(np.float32(own[key]))) for k, key in NUMBERS.items() if key in own}
    biases = {
        "attention_bias": "blk.0.attn_q.bias" in tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in tensors,
    }
    return {
        **sizes,
        "architectures": [families()[family].ARCHITECTURES[0]],
        "vocab_size": tensors[EMBEDDING].shape[0],
        "tie_word_embeddings": HEAD not in tensors,
        "rope_parameters": {"rope_theta": sizes.get("rope_theta"), **_rope(header, own)},
        **(biases if family != "qwen2" else {}),
        "sliding_window": own.get("attention.sliding_window"),
    }


def _check_kinds(header: Header, own: Mapping[str, Any]) -> None:
    """Metadata that is used is a count or a number, as it should be."""
    for key in (*SIZES.values(), "rope.dimension_count", "attention.value_length"):
        value = own.get(key, 1)
        if isinstance(value, np.ndarray):
            raise DynexitError(
                f"{header.file} has a different {key!r} in each layer, which is not supported."
            )
        if type(value) is not int or not 0 < value < MOST:
            raise DynexitError(f"{header.file} has {key!r} = {value!r}, which is not a count.")
    for key in (*NUMBERS.values(), *FACTORS):
        value = own.get(key, 1.0)
        if type(value) not in (int, float) or not 0 < value < inf:
            raise DynexitError(f"{header.file} has {key!r} = {value!r}, which is not possible.")


def _refuse(header: Header, own: Mapping[str, Any]) -> None:
    """What would run wrongly, or take memory for layers that are not there."""
    layers = {name.split(".")[1] for name in header.tensors if name.startswith("blk.")}
    if (claimed := own.get("block_count")) != len(layers):
        raise DynexitError(f"{header.file} claims {claimed} layers but holds {len(layers)}.")
    if own.get("expert_count"):
        raise DynexitError(f"{header.file} holds a mixture of experts, which is not supported.")
    heads, width = own.get("attention.head_count", 1), own.get("embedding_length", 1)
    length = own.get("attention.key_length", width // heads)
    if own.get("attention.value_length", length) != length:
        raise DynexitError(
            f"{header.file} has values and keys of different lengths: not supported."
        )
    if own.get("rope.dimension_count", length) != length:
        raise DynexitError(
            f"{header.file} applies RoPE to a part of each head, which is not supported."
        )


def _rope(header: Header, own: Mapping[str, Any]) -> Json:
    """Factors of their own for each pair of dimensions come before a factor for all."""
    if FREQUENCIES in header.tensors:
        check_type(header.tensors[FREQUENCIES])
        factors = floats_of(header.tensors[FREQUENCIES]).float().flatten().tolist()
        return {"rope_type": "factors", "factors": factors}
    factor = next((own[key] for key in FACTORS if key in own), None)
    kind = own.get("rope.scaling.type", "none" if factor is None else "linear")
    return {"rope_type": "default"} if kind == "none" else {"rope_type": kind, "factor": factor}


def ends_of(header: Header) -> frozenset[int]:
    """Ids that end a text."""
    found = (header.metadata.get(f"tokenizer.ggml.{name}") for name in ENDS)
    return frozenset(token for token in found if type(token) is int)
