"""What model a GGUF file holds, as a `config.json` would say it, and what ends its texts."""

from collections.abc import Mapping
from typing import Any

from dynexit.errors import DynexitError
from dynexit.model.config import Json, ModelConfig
from dynexit.model.families import families, parse_config
from dynexit.model.gguf.blocks import floats_of
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
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
}


def shape_of(header: Header) -> ModelConfig:
    """The shape of the model.

    Raises:
        DynexitError: an architecture or a feature that does not run, by name.
    """
    try:
        return parse_config(config_of(header))
    except DynexitError as error:
        raise DynexitError(str(error).replace("config.json", str(header.file))) from error


def config_of(header: Header) -> Json:
    """The model in the words of `config.json`.

    Raises:
        DynexitError: an architecture or a feature that does not run, by name.
    """
    metadata, tensors = header.metadata, header.tensors
    family = metadata.get("general.architecture")
    if family not in families():
        known = ", ".join(families())
        raise DynexitError(f"{header.file} holds a {family!r}, which does not run: {known} do.")
    if EMBEDDING not in tensors:
        raise DynexitError(f"{header.file} has no tensor {EMBEDDING!r}: it holds no whole model.")
    own = {k.removeprefix(f"{family}."): v for k, v in metadata.items()}
    _refuse(header, own)
    sizes = {ours: own[theirs] for ours, theirs in SIZES.items() if theirs in own}
    biases = "blk.0.attn_q.bias" in tensors
    return {
        **sizes,
        "architectures": [families()[family].ARCHITECTURES[0]],
        "vocab_size": tensors[EMBEDDING].shape[0],
        "tie_word_embeddings": HEAD not in tensors,
        "rope_parameters": {"rope_theta": sizes.get("rope_theta"), **_rope(header, own)},
        **({"attention_bias": biases, "mlp_bias": False} if family != "qwen2" else {}),
        "sliding_window": own.get("attention.sliding_window"),
    }


def _refuse(header: Header, own: Mapping[str, Any]) -> None:
    """What would run wrongly."""
    if own.get("expert_count"):
        raise DynexitError(f"{header.file} holds a mixture of experts, which does not run.")
    length = own.get("attention.key_length")
    if own.get("attention.value_length", length) != length:
        raise DynexitError(
            f"{header.file} has keys and values of different lengths: it does not run."
        )
    heads = own.get("attention.head_count")
    derived = own["embedding_length"] // heads if _counts(own, heads) else None
    if own.get("rope.dimension_count", head_dim := length or derived) != head_dim:
        raise DynexitError(f"{header.file} rotates a part of each head only, which does not run.")
    many = [
        key for key, value in own.items() if key in SIZES.values() and hasattr(value, "__len__")
    ]
    if many:
        raise DynexitError(
            f"{header.file} has another {many[0]!r} in each layer, which does not run."
        )


def _counts(own: Mapping[str, Any], heads: Any) -> bool:
    return isinstance(own.get("embedding_length"), int) and isinstance(heads, int) and heads > 0


def _rope(header: Header, own: Mapping[str, Any]) -> Json:
    """Factors of their own for each pair of dimensions come before a factor for all."""
    if FREQUENCIES in header.tensors:
        factors = floats_of(header.tensors[FREQUENCIES]).float().flatten().tolist()
        return {"rope_type": "factors", "factors": factors}
    factor = own.get("rope.scaling.factor", own.get("rope.scale_linear"))
    kind = own.get("rope.scaling.type", "none" if factor is None else "linear")
    return {"rope_type": "default"} if kind == "none" else {"rope_type": kind, "factor": factor}


def ends_of(header: Header) -> frozenset[int]:
    """Ids that end a text."""
    found = (header.metadata.get(f"tokenizer.ggml.{name}") for name in ENDS)
    return frozenset(token for token in found if isinstance(token, int))
