"""Small random checkpoints as transformers writes them, one or more per model family."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from dynexit.errors import DynexitError
from dynexit.model.interface import BLOCK, Span
from dynexit.model.loading import load_model, load_shape
from dynexit.model.transformer import Transformer

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,  # ten times the usual: logits differ clearly
    "rms_norm_eps": 1e-5,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
LINEAR = {"rope_type": "linear", "rope_theta": 5_000.0, "factor": 3.0}
LLAMA3 = {  # pairs of a head of 8 turn every 6, 63, 628 and 6283 positions: kept, mixed, stretched
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 96,
}
# Family -> variant -> what differs from SHAPE. A new family needs an entry here.
VARIANTS = {
    "llama": {
        "gqa": {},
        "mha": {"num_key_value_heads": 4},
        "one-kv-head": {"num_key_value_heads": 1},
        "biases": {"attention_bias": True, "mlp_bias": True},
        "tied": {"tie_word_embeddings": True},
        "wide-heads": {"head_dim": 16},
        "rope-theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 250.0}},
        "rope-linear": {"rope_parameters": LINEAR},
        "rope-llama3": {"rope_parameters": LLAMA3},
    },
    "mistral": {
        "no-window": {"sliding_window": None},
        "window-of-the-context": {"sliding_window": 128},
    },
    "qwen2": {"untied": {}, "tied": {"tie_word_embeddings": True}},
    "qwen3": {
        "wide-heads": {"head_dim": 16},
        "biases": {"head_dim": 12, "attention_bias": True},
        "tied": {"head_dim": 16, "tie_word_embeddings": True},
    },
}


def random_model(family: str = "llama", variant: str = "gqa", **changes) -> PreTrainedModel:
    """A transformers model in fp32 with random weights; gains and biases are random, too."""
    settings = {**SHAPE, **VARIANTS[family][variant], **changes}
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **settings)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def read(folder: Path, dtype: torch.dtype = torch.float32) -> Transformer:
    """Our model from a checkpoint's folder."""
    return load_model(folder, load_shape(folder), dtype, torch.device("cpu"))


def tokens_for(count: int, seed: int = 0, vocabulary: int = SHAPE["vocab_size"]) -> torch.Tensor:
    """`count` random token ids."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocabulary, (count,), generator=generator)


def forward(model: Transformer, tokens: torch.Tensor, cache=None, start: int = 0, states=None):
    """Logits [T, V] of `tokens` at positions from `start`, over `cache` where there is one."""
    cache = model.new_cache() if cache is None else cache
    rows = model.rows([Span(cache, start, len(tokens))])
    layers = (0, model.config.num_layers)
    return model.unembed(model.run_layers(model.embed(tokens), rows, *layers, states))


def change_json(file: Path, **changes) -> None:
    """Set keys of a JSON file; `...` as a value removes the key."""
    value = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: v for key, v in value.items() if v is not ...}))


def refusal(action: Callable[[], object]) -> str:
    """The one-line sentence with which `action` is refused."""
    with pytest.raises(DynexitError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


def prefilled(model, start):
    """A cache that holds so many tokens."""
    cache = model.new_cache()
    forward(model, tokens_for(start), cache)
    return cache


def check_saved_blocks(model, length: int) -> None:
    """Keys and values are the same to the bit however many positions are read at once, and whoever
    takes them over goes on as if it had read them itself.
    """
    tokens, vocabulary = tokens_for(length), model.config.vocab_size
    tokens %= vocabulary
    count = length // BLOCK
    cache = model.new_cache()
    whole = forward(model, tokens, cache)
    blocks = [cache.save(index) for index in range(count)]
    assert {block.nbytes for block in blocks} == {cache.block_bytes}
    for size in (length - 1, 256, 23):
        other = model.new_cache()
        for start in range(0, length, size):
            forward(model, tokens[start : start + size], other, start)
        assert all(torch.equal(other.save(index), blocks[index]) for index in range(count))
    for kept in (1, count - 1):
        fresh = model.new_cache()
        fresh.restore(blocks[:kept])
        start = kept * BLOCK
        assert torch.equal(forward(model, tokens[start:], fresh, start), whole[start:])
        assert torch.equal(fresh.save(count - 1), blocks[-1])


def states_of(model, given, span, layers=None):
    """Hidden states that leave the layers for tokens, or states that enter, of a span's rows."""
    first, last = layers or (0, model.config.num_layers)
    hidden = given if isinstance(given, torch.Tensor) else model.embed(given)
    return model.run_layers(hidden, model.rows([span]), first, last)
