"""Qwen2 and Qwen2.5: a bias on the query, key and value projections."""

from dynexit.model.config import Json, ModelConfig, flag, parse_shape, refuse_sliding_window

MODEL_TYPE = "qwen2"
ARCHITECTURES = ("Qwen2ForCausalLM",)
MISSING = {"max_position_embeddings": 32_768, "sliding_window": 4_096}


def parse(config: Json) -> ModelConfig:
    """`sliding_window` counts only where `use_sliding_window` is set."""
    config = {**MISSING, **config}
    refuse_sliding_window(config, in_use=flag(config, "use_sliding_window"))
    return parse_shape(config, MODEL_TYPE, qkv_bias=True)
