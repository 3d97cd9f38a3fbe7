"""Dream (Ye et al. 2025, arXiv 2508.15487): a Qwen2.5 without the causal mask, whose rows predict
the mask after them. `dynexit train --objective masked-diffusion` writes this form, too.
"""

from dynexit.model.config import (
    Json,
    ModelConfig,
    flag,
    mask_token,
    parse_shape,
    refuse_sliding_window,
)

MODEL_TYPE = "Dream"
ARCHITECTURES = ("DreamModel",)
MISSING = {"max_position_embeddings": 32_768, "num_key_value_heads": 32}


def parse(config: Json) -> ModelConfig:
    """As Qwen2, with the token that stands for what is unknown.

    Raises:
        DynexitError: there is no mask token, or the shape is not one that runs.
    """
    config = {**MISSING, **config}
    refuse_sliding_window(config, in_use=flag(config, "use_sliding_window"))
    mask = mask_token(config)
    return parse_shape(config, MODEL_TYPE, qkv_bias=True, mask_token=mask, shifted=True)
