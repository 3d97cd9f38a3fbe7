"""The shape of a model, read from a Hugging Face `config.json`.

Not responsible for the differences between families: each file in `families/` fills in its own.
"""

from dataclasses import dataclass, field
from math import inf
from typing import Any

from dynexit.errors import DynexitError

Json = dict[str, Any]


@dataclass(frozen=True)
class RopeConfig:
    """Rotary position embedding. `kind` is one of default, linear, llama3, factors.

    `factors`, one for each pair of dimensions, say how much slower it turns.
    """

    theta: float = 10_000.0
    kind: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_positions: int = 8_192
    factors: tuple[float, ...] = ()


@dataclass(frozen=True)
class ModelConfig:
    """Everything that the runtime needs to know about a decoder-only model."""

    family: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    norm_eps: float = 1e-6
    rope: RopeConfig = field(default_factory=RopeConfig)
    tie_embeddings: bool = False
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False

    @property
    def group_size(self) -> int:
        """Query heads per key/value head."""
        return self.num_heads // self.num_kv_heads

    @property
    def rotated_heads(self) -> int:
        """Heads of the fused QKV projection that carry a position: queries, then keys."""
        return self.num_heads + self.num_kv_heads

    @property
    def layer_parameters(self) -> int:
        """Weights of one decoder layer's matrices."""
        qkv = self.hidden_size * (self.rotated_heads + self.num_kv_heads) * self.head_dim
        out = self.num_heads * self.head_dim * self.hidden_size
        return qkv + out + 3 * self.hidden_size * self.intermediate_size

    @property
    def head_parameters(self) -> int:
        """Weights that one unembedding reads."""
        return self.vocab_size * self.hidden_size


def require(config: Json, key: str) -> Any:
    """The value of `key`, or a sentence that says it is missing."""
    if config.get(key) is None:
        raise DynexitError(f"config.json has no {key!r}: it is not a complete model configuration.")
    return config[key]


def parse_rope(config: Json) -> RopeConfig:
    """RoPE settings from either layout: `rope_parameters`, or `rope_theta` and `rope_scaling`."""
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = float(scaling.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    if kind == "factors":
        return RopeConfig(theta, kind, factors=tuple(map(float, require(scaling, "factors"))))
    if kind not in ("default", "linear", "llama3"):
        raise DynexitError(
            f"RoPE type {kind!r} is not supported (default, linear and llama3 are): "
            "this checkpoint would run wrongly, so it is not run."
        )
    partial = (source.get("partial_rotary_factor") for source in (config, scaling))
    if any(float(share or 1.0) != 1.0 for share in partial):
        raise DynexitError("partial_rotary_factor is not supported: use a fully rotated model.")
    if kind == "default":
        return RopeConfig(theta)
    factor = float(require(scaling, "factor"))
    if kind == "linear":
        return RopeConfig(theta, kind, factor)
    return RopeConfig(
        theta,
        kind,
        factor,
        float(require(scaling, "low_freq_factor")),
        float(require(scaling, "high_freq_factor")),
        int(require(scaling, "original_max_position_embeddings")),
    )


def parse_shape(config: Json, family: str, **family_fields: Any) -> ModelConfig:
    """The fields that every supported family shares.

    Raises:
        DynexitError: an activation, quantisation or shape that the runtime does not run.
    """
    activation = config.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise DynexitError(f"activation {activation!r} is not supported: only SiLU gates are.")
    if config.get("quantization_config"):
        method = config["quantization_config"].get("quant_method", "unknown")
        raise DynexitError(f"quantised weights ({method}) are not supported: load the original.")
    heads, hidden = int(require(config, "num_attention_heads")), int(require(config, "hidden_size"))
    shape = ModelConfig(
        family=family,
        vocab_size=int(require(config, "vocab_size")),
        hidden_size=hidden,
        intermediate_size=int(require(config, "intermediate_size")),
        num_layers=int(require(config, "num_hidden_layers")),
        num_heads=heads,
        num_kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or hidden // max(heads, 1)),
        max_positions=int(config.get("max_position_embeddings") or 2_048),
        norm_eps=float(config.get("rms_norm_eps") or 1e-6),
        rope=parse_rope(config),
        tie_embeddings=bool(config.get("tie_word_embeddings", False)),
        **family_fields,
    )
    _check_shape(shape)
    return shape


def _check_shape(shape: ModelConfig) -> None:
    sizes = (shape.vocab_size, shape.hidden_size, shape.intermediate_size, shape.num_layers)
    if min(*sizes, shape.num_heads, shape.num_kv_heads, shape.head_dim, shape.max_positions) < 1:
        raise DynexitError("config.json has a size below 1: it is not a model that can run.")
    if shape.num_heads % shape.num_kv_heads or shape.head_dim % 2:
        raise DynexitError(
            f"{shape.num_heads} heads over {shape.num_kv_heads} key/value heads of "
            f"{shape.head_dim} is not a shape that attention can run."
        )
    if (factors := shape.rope.factors) and (
        len(factors) != shape.head_dim // 2 or not all(0 < factor < inf for factor in factors)
    ):
        raise DynexitError(
            f"RoPE has {len(factors)} factors that do not fit heads of {shape.head_dim}."
        )


def refuse_sliding_window(config: Json, in_use: bool) -> None:
    """Refuse a window that would hide part of the context; one as long as the context is none."""
    window = config.get("sliding_window")
    layers = set(config.get("layer_types") or ["full_attention"])
    windowed = in_use and window is not None and window < config.get("max_position_embeddings", 0)
    if windowed or layers != {"full_attention"}:
        raise DynexitError(
            "sliding-window attention is not supported: set sliding_window to null in config.json "
            "only if the model was trained with full attention."
        )
