"""Small random models as transformers holds them, in families that we run and others."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,  # ten times the usual: logits differ clearly
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
OURS = {
    "llama": {},
    "mistral": {"sliding_window": None},
    "qwen2": {},
    "qwen3": {"head_dim": 12, "attention_bias": True},
}
WINDOWS = {"sliding_window": 6, "head_dim": 8}
OTHERS = {
    "gemma": {"head_dim": 8},
    "gemma2": {**WINDOWS, "final_logit_softcapping": 5.0, "attn_logit_softcapping": 4.0},
    "gemma3_text": {**WINDOWS, "layer_types": ["sliding_attention"] * 3 + ["full_attention"]},
    "phi": {},
    "phi3": {},
    "olmo": {"clip_qkv": 0.5},
    "olmo2": {},
    "granite": {"embedding_multiplier": 3.0, "logits_scaling": 2.0, "residual_multiplier": 0.5},
    "cohere2": {"sliding_window": 6, "logit_scale": 0.5},
    "gpt2": {"n_embd": 32, "n_layer": 4, "n_head": 4},
    "mixtral": {},
    "mistral": {"sliding_window": 6},
}


def loaded(family: str = "llama", seed: int = 0, dtype=torch.float32, **changes) -> PreTrainedModel:
    """A model with random weights; gains and biases are random, too."""
    known = OTHERS.get(family, {}) if family not in OURS else OURS[family]
    config = AutoConfig.for_model(family, **{**SHAPE, **known, **changes})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model.to(dtype)


def prompt(count: int = 7, seed: int = 1) -> torch.Tensor:
    """Random ids [1, count], none of them the padding's."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 97, (1, count), generator=generator)
