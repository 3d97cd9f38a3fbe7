"""Llama 2, 3, 3.1, 3.2 and Code Llama: every published LayerSkip checkpoint."""

from dynexit.model.config import Json, ModelConfig, flag, parse_shape

MODEL_TYPE = "llama"
ARCHITECTURES = ("LlamaForCausalLM",)


def parse(config: Json) -> ModelConfig:
    """`attention_bias` puts a bias on all four projections of attention, as transformers does."""
    attention_bias = flag(config, "attention_bias")
    return parse_shape(
        config,
        MODEL_TYPE,
        qkv_bias=attention_bias,
        out_bias=attention_bias,
        mlp_bias=flag(config, "mlp_bias"),
    )
