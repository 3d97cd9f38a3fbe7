"""Mistral without its sliding window (v0.2 and later)."""

from dynexit.model.config import Json, ModelConfig, parse_shape, refuse_sliding_window

MODEL_TYPE = "mistral"
ARCHITECTURES = ("MistralForCausalLM",)


def parse(config: Json) -> ModelConfig:
    """A `sliding_window` of null means full attention."""
    refuse_sliding_window(config, in_use=True)
    return parse_shape(config, MODEL_TYPE)
