"""LLaDA (Nie et al. 2025, arXiv 2502.09992): a Llama without the causal mask, whose configuration
and tensors have OLMo's names.
"""

from dynexit.errors import DynexitError
from dynexit.model.config import Json, ModelConfig, flag, mask_token, parse_shape
from dynexit.plain import shown

MODEL_TYPE = "llada"
ARCHITECTURES = ("LLaDAModelLM",)
KEYS = {  # of Llama's configuration
    "hidden_size": "d_model",
    "intermediate_size": "mlp_hidden_size",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "num_key_value_heads": "n_kv_heads",
    "max_position_embeddings": "max_sequence_length",
    "hidden_act": "activation_type",
    "tie_word_embeddings": "weight_tying",
    "rms_norm_eps": "rms_norm_eps",
    "rope_theta": "rope_theta",
    "vocab_size": "embedding_size",
    "attention_out_bias": "include_bias",
    "attention_bias": "include_qkv_bias",
}
TENSORS = {  # parts of Llama's names
    "model.embed_tokens": "model.transformer.wte",
    "model.norm": "model.transformer.ln_f",
    "lm_head": "model.transformer.ff_out",
    "model.layers": "model.transformer.blocks",
    "self_attn.o_proj": "attn_out",
    "self_attn.": "",
    "mlp.gate_proj": "ff_proj",
    "mlp.up_proj": "up_proj",
    "mlp.down_proj": "ff_out",
    "post_attention_layernorm": "ff_norm",
    "input_layernorm": "attn_norm",
}
NEEDED = {"block_type": "llama", "layer_norm_type": "rms", "rope": True}  # what runs here
REFUSED = (
    "alibi",
    "attention_layer_norm",
    "scale_logits",
    "input_emb_norm",
    "multi_query_attention",
)


def parse(config: Json) -> ModelConfig:
    """The embedding may have more rows than the vocabulary has tokens.

    Raises:
        DynexitError: there is no mask token, or OLMo's settings ask for layers that do not run.
    """
    odd = [key for key, value in NEEDED.items() if config.get(key) != value]
    if odd := odd + [key for key in REFUSED if config.get(key)]:
        raise DynexitError(
            f"config.json: {odd[0]} is {shown(config.get(odd[0]))}: a LLaDA model must have "
            "Llama's layers to run."
        )
    bias = flag(config, "include_bias")
    llama = {key: config.get(theirs) for key, theirs in KEYS.items()}
    llama["vocab_size"] = llama["vocab_size"] or config.get("vocab_size")
    return parse_shape(
        llama,
        MODEL_TYPE,
        qkv_bias=bias or flag(config, "include_qkv_bias"),
        out_bias=bias,
        mlp_bias=bias,
        mask_token=mask_token(config),
    )


def written(config: Json) -> Json:
    """A `config.json` of Llama's keys under LLaDA's."""
    named = {theirs: config[key] for key, theirs in KEYS.items()}
    kept = {key: config[key] for key in ("architectures", "model_type", "mask_token_id", "dtype")}
    ends = {key: config[key] for key in ("bos_token_id", "eos_token_id")}
    return {**kept, **named, **NEEDED, **ends, "vocab_size": config["vocab_size"]}
