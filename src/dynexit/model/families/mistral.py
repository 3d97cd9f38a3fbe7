"""Mistral without its sliding window (v0.2 and later)."""

from dynexit.model.config import Json, ModelConfig, parse_shape, refuse_sliding_window

MODEL_TYPE = "mistral"
ARCHITECTURES = ("MistralForCausalLM",)
MISSING = {"max_position_embeddings": 131_072, "sliding_window": 4_096, "num_key_value_heads": 8}


def parse(config: Json) -> ModelConfig:
    """A `sliding_window` of null means full attention; a missing one is transformers' 4096."""
    config = {**MISSING, **config}
    refuse_sliding_window(config, in_use=True)
    return parse_shape(config, MODEL_TYPE)
