"""How well a model's early exits agree with its last layer, read off a text without decoding."""

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

from dynexit.decoding.controllers.del_ import token_per_layer
from dynexit.model.probe import LayerReadings, read_layers

if TYPE_CHECKING:
    from dynexit.language_model import LanguageModel

SAMPLE = (
    "Question: A shop sells pens in boxes of twelve. If a teacher buys 4 boxes and gives away 17 "
    "pens, how many pens are left?\nAnswer: The teacher buys 4 * 12 = 48 pens. After giving away "
    "17 there are 48 - 17 = 31 pens left. The sky was grey and the road was long, and they walked "
    "on without a word until the first lights of the town came into sight."
)
WORTHWHILE = 1.05  # tokens per layer that the best exit must promise, relative to plain decoding


def read_text(lm: "LanguageModel", text: str) -> LayerReadings:
    """Readings of every exit layer over `text`, cut to the model's context."""
    if lm.tokenizer is None:
        ids = [position % lm.model.choosable for position in range(64)]
    else:
        ids = lm.tokenizer.encode(text)
    tokens = torch.tensor(ids[: lm.model.config.max_positions], device=lm.model.device)
    return read_layers(lm.model, tokens)


def promised_speedup(agreement: list[float]) -> float:
    """Tokens per layer of the best exit and length, relative to plain decoding (DEL, TPL)."""
    num_layers = len(agreement)
    if num_layers < 2:
        return 1.0
    tpl = token_per_layer(np.array(agreement[:-1]), 18, num_layers)
    return float(tpl.max()) * num_layers


def warn_if_useless(lm: "LanguageModel") -> None:
    """One warning where no exit layer agrees with the last often enough to save anything."""
    agreement = read_text(lm, SAMPLE).agreement
    if promised_speedup(agreement) < WORTHWHILE:
        best = max(agreement[:-1], default=0.0)
        warnings.warn(
            f"{lm.name}: its early exits agree with its last layer at most {best:.0%} of the time, "
            "too rarely for drafts to save anything: the text stays right, but use method "
            '"vanilla", or train the exits (dynexit train).',
            stacklevel=3,
        )
