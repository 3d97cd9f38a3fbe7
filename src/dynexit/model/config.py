"""The shape of a model, read from a Hugging Face `config.json`.

Not responsible for the differences between families: each file in `families/` fills in its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Annotated, Any

from dynexit.errors import DynexitError
from dynexit.plain import Within, fits, shown, wanted

Json = dict[str, Any]
MOST_LAYERS = 2**16  # `native/checks.h` has the same bounds
Size = Annotated[int, Within(1, 2**30)]
Positive = Annotated[float, Within(0, 1e30, above=True)]
Section = Mapping[str, Any]


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
    """Everything that the runtime needs to know about a decoder-only model.

    A model with a `mask_token` is a masked-diffusion model: every position sees all positions, and
    it predicts tokens where masks are. If it is `shifted`, the row before a mask predicts it, as in
    a model that was made from a causal one; otherwise the mask's own row does.
    """

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
    mask_token: int | None = None
    shifted: bool = False

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


def value_of(config: Section, key: str, kind: Any, default: Any = None) -> Any:
    """The value of `key`, which must be of an annotation; `default` where there is none.

    Raises:
        DynexitError: it is of another kind, or out of bounds.
    """
    value = config.get(key)
    if value is None:
        return default
    if not fits(value, kind):
        raise DynexitError(f"config.json: {key} is {shown(value)}: it must be {wanted(kind)}.")
    return value


def require(config: Section, key: str, kind: Any) -> Any:
    """Like `value_of`, where there must be one."""
    value = value_of(config, key, kind)
    if value is None:
        raise DynexitError(f"config.json has no {key!r}: it is not a complete model configuration.")
    return value


def flag(config: Section, key: str) -> bool:
    """Like `value_of`, of true or false; false where there is none."""
    return bool(value_of(config, key, bool, False))


def mask_token(config: Section) -> int:
    """The token that stands for what a masked-diffusion model does not know.

    Raises:
        DynexitError: there is none.
    """
    token = value_of(config, "mask_token_id", Annotated[int, Within(0, 2**30)])
    if token is None:
        raise DynexitError("config.json has no mask_token_id: a masked-diffusion model needs one.")
    return int(token)


def parse_rope(config: Json) -> RopeConfig:
    """RoPE settings from either layout: `rope_parameters`, or `rope_theta` and `rope_scaling`."""
    old = value_of(config, "rope_scaling", Section, {})
    scaling = value_of(config, "rope_parameters", Section, {}) or old
    theta = float(value_of(scaling, "rope_theta", Positive, 0) or _theta(config))
    kind = value_of(scaling, "rope_type", str) or value_of(scaling, "type", str) or "default"
    if kind == "factors":
        factors = require(scaling, "factors", Sequence[float])
        return RopeConfig(theta, kind, factors=tuple(map(float, factors)))
    if kind not in ("default", "linear", "llama3"):
        raise DynexitError(
            f"RoPE type {shown(kind)} is not supported: use a checkpoint with default, linear or "
            "llama3."
        )
    partial = (value_of(each, "partial_rotary_factor", float, 1) for each in (config, scaling))
    if any(share != 1 for share in partial):
        raise DynexitError("partial_rotary_factor is not supported: use a fully rotated model.")
    if kind == "default":
        return RopeConfig(theta)
    factor = float(require(scaling, "factor", Positive))
    return RopeConfig(theta, kind, factor, *(_llama3(scaling) if kind == "llama3" else ()))


def _theta(config: Json) -> float:
    return value_of(config, "rope_theta", Positive, 10_000.0)


def _llama3(scaling: Json) -> tuple[float, float, int]:
    low, high = (float(require(scaling, f"{one}_freq_factor", Positive)) for one in ("low", "high"))
    if low >= high:
        raise DynexitError(f"config.json: low_freq_factor {low} is not below high_freq_factor.")
    return low, high, require(scaling, "original_max_position_embeddings", Size)


def parse_shape(config: Json, family: str, **family_fields: Any) -> ModelConfig:
    """The fields that every supported family shares.

    Raises:
        DynexitError: an activation or shape that the runtime does not run.
    """
    activation = value_of(config, "hidden_act", str, "silu")
    if activation not in ("silu", "swish"):
        raise DynexitError(
            f"activation {shown(activation)} is not supported: it must be a SiLU gate."
        )
    heads = require(config, "num_attention_heads", Size)
    hidden = require(config, "hidden_size", Size)
    shape = ModelConfig(
        family=family,
        vocab_size=require(config, "vocab_size", Size),
        hidden_size=hidden,
        intermediate_size=require(config, "intermediate_size", Size),
        num_layers=require(config, "num_hidden_layers", Annotated[int, Within(1, MOST_LAYERS)]),
        num_heads=heads,
        num_kv_heads=value_of(config, "num_key_value_heads", Size, heads),
        head_dim=value_of(config, "head_dim", Size, hidden // heads),
        max_positions=value_of(config, "max_position_embeddings", Size, 2_048),
        norm_eps=float(value_of(config, "rms_norm_eps", Annotated[float, Within(0, 1)], 1e-6)),
        rope=parse_rope(config),
        tie_embeddings=flag(config, "tie_word_embeddings"),
        **family_fields,
    )
    _check_shape(shape)
    return shape


def _check_shape(shape: ModelConfig) -> None:
    if shape.num_heads % shape.num_kv_heads or shape.head_dim % 2 or not shape.head_dim:
        raise DynexitError(
            f"{shape.num_heads} heads over {shape.num_kv_heads} key/value heads of "
            f"{shape.head_dim} is not a shape that attention can run."
        )
    if shape.mask_token is not None and shape.mask_token >= shape.vocab_size:
        raise DynexitError(
            f"config.json: mask_token_id {shape.mask_token} is outside the vocabulary of "
            f"{shape.vocab_size} tokens."
        )
    if (factors := shape.rope.factors) and (
        len(factors) != shape.head_dim // 2 or not all(0 < factor < inf for factor in factors)
    ):
        raise DynexitError(
            f"RoPE has {len(factors)} factors that do not fit heads of {shape.head_dim}."
        )


def refuse_sliding_window(config: Json, in_use: bool) -> None:
    """Refuse a window that would hide part of the context; one as long as the context is none."""
    window = value_of(config, "sliding_window", int)
    layers = set(value_of(config, "layer_types", Sequence[str]) or ["full_attention"])
    context = value_of(config, "max_position_embeddings", Size, 0)
    windowed = in_use and window is not None and window < context
    if windowed or layers != {"full_attention"}:
        raise DynexitError(
            "sliding-window attention is not supported: set sliding_window to null in config.json "
            "only if the model was trained with full attention."
        )
