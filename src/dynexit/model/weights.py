"""Names of weights: ours, fused, beside those of a Hugging Face checkpoint.

Every supported family uses the same names on disk; a parameter of ours is one tensor of the file
or several, stacked along the first dimension.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from dynexit.model.config import ModelConfig


@dataclass(frozen=True)
class Part:
    """One tensor of the file: its name, and the rows of our parameter that it fills."""

    name: str
    start: int
    stop: int


def _stack(*named_sizes: tuple[str, int]) -> tuple[Part, ...]:
    parts, start = [], 0
    for name, size in named_sizes:
        parts.append(Part(name, start, start + size))
        start += size
    return tuple(parts)


def _layer(config: ModelConfig, index: int) -> Iterator[tuple[str, tuple[Part, ...]]]:
    ours, theirs = f"layers.{index}", f"model.layers.{index}"
    queries = config.num_heads * config.head_dim
    keys, inner = config.num_kv_heads * config.head_dim, config.intermediate_size
    matrices = {
        "qkv": (
            (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)),
            "self_attn",
            config.qkv_bias,
        ),
        "out": ((("o_proj", config.hidden_size),), "self_attn", config.out_bias),
        "gate_up": ((("gate_proj", inner), ("up_proj", inner)), "mlp", config.mlp_bias),
        "down": ((("down_proj", config.hidden_size),), "mlp", config.mlp_bias),
    }
    for fused, (pieces, block, bias) in matrices.items():
        for kind in ("weight", "bias") if bias else ("weight",):
            sizes = [(f"{theirs}.{block}.{name}.{kind}", size) for name, size in pieces]
            yield f"{ours}.{fused}.{kind}", _stack(*sizes)
    norms = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    for name, their_name in norms.items():
        yield f"{ours}.{name}.weight", _stack((f"{theirs}.{their_name}.weight", config.hidden_size))
    if config.qk_norm:
        for name, their_name in {"query_norm": "q_norm", "key_norm": "k_norm"}.items():
            part = (f"{theirs}.self_attn.{their_name}.weight", config.head_dim)
            yield f"{ours}.{name}.weight", _stack(part)


def weight_map(config: ModelConfig) -> dict[str, tuple[Part, ...]]:
    """Our parameter names -> the tensors of a checkpoint that fill them, in file order."""
    names = {"embedding.weight": _stack(("model.embed_tokens.weight", config.vocab_size))}
    for index in range(config.num_layers):
        names.update(_layer(config, index))
    names["final_norm.weight"] = _stack(("model.norm.weight", config.hidden_size))
    if not config.tie_embeddings:
        names["head.weight"] = _stack(("lm_head.weight", config.vocab_size))
    return names
