"""Perplexity of a text, in windows as llama.cpp's tool computes it."""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from dynexit.errors import DynexitError
from dynexit.model.interface import Model, Span

if TYPE_CHECKING:
    from dynexit.language_model import LanguageModel

WINDOW = 512
ROWS = 16  # unembedded at once


@dataclass(frozen=True)
class Surprise:
    """Of so many windows, the tokens that count and their cross entropy in all."""

    windows: int
    tokens: int
    nats: float

    @property
    def perplexity(self) -> float:
        """Tokens that the model is, on average, undecided between."""
        return exp(self.nats / self.tokens)


@torch.inference_mode()
def measure(
    lm: "LanguageModel",
    text: str,
    window: int = WINDOW,
    progress: Callable[[], None] = lambda: None,
) -> Surprise:
    """Read `text` in windows that do not overlap; the second half of each counts.

    A window begins with the BOS token, in the place of its own first, where the tokenizer puts one
    before a text. What is left at the end is not read.

    Raises:
        DynexitError: no tokenizer, a text shorter than a window, or a window that does not fit.
    """
    if lm.tokenizer is None:
        raise DynexitError("perplexity needs a tokenizer, but this checkpoint has none.")
    context = lm.model.config.max_positions
    if not 4 <= window <= context:
        raise DynexitError(f"a window of {window} tokens is not possible: use 4 to {context}.")
    ids = lm.tokenizer.encode(text)
    if len(ids) < window:
        raise DynexitError(
            f"the text has only {len(ids)} tokens, too few for a window of {window}."
        )
    first = lm.tokenizer.encode("")[:1]
    nats, count = 0.0, len(ids) // window
    for start in range(0, count * window, window):
        own = ids[start : start + window]
        nats += _nats(lm.model, [*first, *own[len(first) :]])
        progress()
    return Surprise(count, count * (window - window // 2 - 1), nats)


def _nats(model: Model, tokens: list[int]) -> float:
    """Cross entropy of the second half of a window."""
    half, end = len(tokens) // 2, len(tokens) - 1
    rows = model.rows([Span(model.new_cache(), 0, end)])
    hidden = model.run_layers(model.embed(tokens[:end]), rows, 0, model.config.num_layers)
    following = torch.tensor(tokens[half + 1 :], device=hidden.device)
    pairs = zip(hidden[half:].split(ROWS), following.split(ROWS), strict=True)
    losses = (F.cross_entropy(model.unembed(h).float(), t, reduction="sum") for h, t in pairs)
    return sum(map(float, losses))
