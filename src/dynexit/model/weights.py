"""Names of weights: ours, fused, beside those of a Hugging Face checkpoint.

Families use the same names on disk, unless their file has `TENSORS`. A parameter of ours is one
tensor of the file or several, stacked along the first dimension.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dynexit.model.config import ModelConfig
from dynexit.model.families import tensor_name


@dataclass(frozen=True)
class Part:
    """One tensor of the file: its name, and the rows of our parameter that it fills, each of so
    many `inputs`; a vector has none.
    """

    name: str
    start: int
    stop: int
    inputs: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        rows = self.stop - self.start
        return (rows,) if self.inputs is None else (rows, self.inputs)


def _stack(*named_sizes: tuple[str, int], inputs: int | None = None) -> tuple[Part, ...]:
    parts, start = [], 0
    for name, size in named_sizes:
        parts.append(Part(name, start, start + size, inputs))
        start += size
    return tuple(parts)


def _layer(config: ModelConfig, index: int) -> Iterator[tuple[str, tuple[Part, ...]]]:
    ours, theirs = f"layers.{index}", f"model.layers.{index}"
    hidden, queries = config.hidden_size, config.num_heads * config.head_dim
    keys, inner = config.num_kv_heads * config.head_dim, config.intermediate_size
    matrices = {
        "qkv": (
            (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)),
            "self_attn",
            config.qkv_bias,
            hidden,
        ),
        "out": ((("o_proj", hidden),), "self_attn", config.out_bias, queries),
        "gate_up": ((("gate_proj", inner), ("up_proj", inner)), "mlp", config.mlp_bias, hidden),
        "down": ((("down_proj", hidden),), "mlp", config.mlp_bias, inner),
    }
    for fused, (pieces, block, bias, inputs) in matrices.items():
        for kind, width in (("weight", inputs), ("bias", None))[: 1 + bias]:
            sizes = [(f"{theirs}.{block}.{name}.{kind}", size) for name, size in pieces]
            yield f"{ours}.{fused}.{kind}", _stack(*sizes, inputs=width)
    norms = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    for name, their_name in norms.items():
        yield f"{ours}.{name}.weight", _stack((f"{theirs}.{their_name}.weight", hidden))
    if config.qk_norm:
        for name, their_name in {"query_norm": "q_norm", "key_norm": "k_norm"}.items():
            part = (f"{theirs}.self_attn.{their_name}.weight", config.head_dim)
            yield f"{ours}.{name}.weight", _stack(part)


def weight_map(config: ModelConfig) -> dict[str, tuple[Part, ...]]:
    """Our parameter names -> the tensors of a checkpoint that fill them, in file order."""
    size, hidden = config.vocab_size, config.hidden_size
    names = {"embedding.weight": _stack(("model.embed_tokens.weight", size), inputs=hidden)}
    for index in range(config.num_layers):
        names.update(_layer(config, index))
    names["final_norm.weight"] = _stack(("model.norm.weight", hidden))
    if not config.tie_embeddings:
        names["head.weight"] = _stack(("lm_head.weight", size), inputs=hidden)
    return {
        ours: tuple(replace(part, name=tensor_name(config.family, part.name)) for part in parts)
        for ours, parts in names.items()
    }
