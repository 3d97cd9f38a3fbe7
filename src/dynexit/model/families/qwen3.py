"""Qwen3: queries and keys are RMS-normalised per head before the rotation."""

from dynexit.model.config import Json, ModelConfig, flag, parse_shape, refuse_sliding_window

MODEL_TYPE = "qwen3"
ARCHITECTURES = ("Qwen3ForCausalLM",)
MISSING = {"max_position_embeddings": 32_768, "sliding_window": 4_096, "head_dim": 128}


def parse(config: Json) -> ModelConfig:
    """`head_dim` is its own setting here: it need not be hidden_size / num_heads."""
    config = {**MISSING, **config}
    refuse_sliding_window(config, in_use=flag(config, "use_sliding_window"))
    attention_bias = flag(config, "attention_bias")
    return parse_shape(
        config, MODEL_TYPE, qkv_bias=attention_bias, out_bias=attention_bias, qk_norm=True
    )
