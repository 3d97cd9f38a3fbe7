"""What a training run starts from: its tokenizer, and a model to train."""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from dynexit.errors import DynexitError, reason
from dynexit.model.config import ModelConfig, RopeConfig
from dynexit.model.files import replacing
from dynexit.model.gguf.files import is_gguf
from dynexit.model.loading import load_eos, load_model, load_shape
from dynexit.model.places import find_checkpoint
from dynexit.model.tokenizer import load_tokenizer
from dynexit.model.transformer import Transformer
from dynexit.training.corpus import encode
from dynexit.training.masked_diffusion import to_diffusion
from dynexit.training.recipe import Recipe
from dynexit.training.vocabulary import END_OF_TEXT, byte_level_tokenizer, save_tokenizer

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)


@dataclass(frozen=True)
class Start:
    """The start of a run.

    Attributes:
        end: the token that ends a document.
        model: with all weights to be trained, on the CPU.
    """

    tokenizer: Tokenizer
    end: int
    model: Transformer

    @classmethod
    def of(cls, recipe: Recipe, out: Path, texts: list[str]) -> "Start":
        """The start that a recipe describes. The tokenizer is in `out` afterwards.

        Args:
            texts: what a new tokenizer learns from.

        Raises:
            DynexitError: the recipe's checkpoint is missing, damaged or lacks a part.
        """
        checkpoint = find_checkpoint(recipe.start_from) if recipe.start_from else None
        tokenizer = _tokenizer(recipe, checkpoint, out, texts)
        end = _end(recipe, checkpoint, tokenizer)
        if checkpoint:
            shape = load_shape(checkpoint)
            model = load_model(checkpoint, shape, torch.float32, torch.device("cpu"))
        else:
            model = initialise(Transformer(_config(recipe, tokenizer)))
        if recipe.masks:
            model = to_diffusion(model, recipe.diffusion.layers)
        return cls(tokenizer, end, model.requires_grad_(True))

    def encode(self, texts: list[str]) -> list[np.ndarray[Any, Any]]:
        """Token ids of documents."""
        return encode(self.tokenizer, texts, self.end)


def _tokenizer(recipe: Recipe, checkpoint: Path | None, out: Path, texts: list[str]) -> Tokenizer:
    file = out / "tokenizer.json"
    if checkpoint:
        _copy_tokenizer(checkpoint, out)
    elif not file.exists():
        tokenizer = byte_level_tokenizer(recipe.vocab_size, texts)
        save_tokenizer(tokenizer, out, recipe.shape.max_positions)
    if not file.exists():
        raise DynexitError(f"{recipe.start_from} has no tokenizer.json: add it there.")
    try:
        loaded: Tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise DynexitError(f"{file} cannot be read: {reason(error)}.") from error
    return loaded


def _copy_tokenizer(checkpoint: Path, out: Path) -> None:
    if is_gguf(checkpoint):
        if tokenizer := load_tokenizer(checkpoint):
            tokenizer.loaded.save_pretrained(out)
        return
    for name in TOKENIZER_FILES:
        if (source := checkpoint / name).exists():
            with replacing(out / name) as partial:
                shutil.copy(source, partial)


def _end(recipe: Recipe, checkpoint: Path | None, tokenizer: Tokenizer) -> int:
    """The token that ends a document."""
    if not checkpoint:
        return int(tokenizer.token_to_id(END_OF_TEXT) or 0)
    ends = load_eos(checkpoint)
    if not ends:
        raise DynexitError(f"{recipe.start_from} names no eos_token_id: add it there.")
    return min(ends)


def _config(recipe: Recipe, tokenizer: Tokenizer) -> ModelConfig:
    shape = dataclasses.asdict(recipe.shape)
    return ModelConfig(
        family="llama",
        vocab_size=tokenizer.get_vocab_size(),
        rope=RopeConfig(theta=shape.pop("rope_theta")),
        tie_embeddings=True,
        norm_eps=1e-5,
        **shape,
    )


def initialise(model: Transformer) -> Transformer:
    """Normal weights; what writes into the residual stream is scaled down by depth."""
    residual = (2 * model.config.num_layers) ** -0.5
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            scale = residual if name.endswith(("out.weight", "down.weight")) else 1.0
            nn.init.normal_(parameter, std=0.02 * scale)
    return model
