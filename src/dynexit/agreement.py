"""How well a model's early exits agree with its last layer, read off a text without decoding."""

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

from dynexit.costs.table import trimmed_vocabulary
from dynexit.decoding.controllers.del_ import token_per_layer
from dynexit.decoding.predictions import layer_predictions
from dynexit.decoding.records import ShadowTokens
from dynexit.decoding.requests import drive
from dynexit.model.probe import LayerReadings, read_layers

if TYPE_CHECKING:
    from dynexit.language_model import LanguageModel

SAMPLE = (
    "Question: A shop sells pens in boxes of twelve. If a teacher buys 4 boxes and gives away 17 "
    "pens, how many pens are left?\nAnswer: The teacher buys 4 * 12 = 48 pens. After giving away "
    "17 there are 48 - 17 = 31 pens left. The sky was grey and the road was long, and they walked "
    "on without a word until the first lights of the town came into sight."
)
SAMPLED = 64  # tokens of it that are looked at when a model is loaded: of a large one each costs
LONGEST = 18  # tokens of a draft
WORTHWHILE = 1.05  # tokens per layer that the best exit must promise, relative to plain decoding


def read_text(lm: "LanguageModel", text: str) -> LayerReadings:
    """Readings of every exit layer over `text`, cut to the model's context."""
    return read_layers(lm.model, torch.tensor(_ids(lm, text), device=lm.model.device))


def _ids(lm: "LanguageModel", text: str) -> list[int]:
    """Token ids of a text, as many as the context holds; some or other without a tokenizer.

    Raises:
        DynexitError: the tokenizer makes none of it, or ids that this model does not have.
    """
    if lm.tokenizer is None:
        ids = [position % lm.model.choosable for position in range(64)]
    else:
        ids = lm.prompt_tokens(text)
    return ids[: lm.model.config.max_positions]


def best_exit(agreement: list[float]) -> tuple[float, int, int]:
    """What the best exit promises, it, and its length: tokens per layer beside plain decoding's.

    Layer and length are 0 where plain decoding is the best (DEL, TPL).
    """
    num_layers = len(agreement)
    if num_layers < 2:
        return 1.0, 0, 0
    tpl = token_per_layer(np.array(agreement[:-1]), LONGEST, num_layers)
    layer, length = divmod(int(tpl.argmax()), LONGEST + 1)
    return float(tpl.max()) * num_layers, layer + 1 if length else 0, length


@torch.inference_mode()
def sample_exits(lm: "LanguageModel") -> ShadowTokens:
    """What every exit, by the part of the head that drafts read, says of a sample text."""
    ids, limit = _ids(lm, SAMPLE)[:SAMPLED], trimmed_vocabulary(lm.model.choosable)
    steps = layer_predictions(lm.model, ids, 1, len(ids), limit)
    tokens, confidence = drive(lm.model, steps)
    layers = tuple(range(1, lm.num_layers))
    return ShadowTokens(tokens[:-1] == tokens[-1], confidence[:-1], layers)


def warn_if_useless(lm: "LanguageModel") -> None:
    """One warning where no exit layer agrees with the last often enough to save anything."""
    agreement = lm.sample.matched.mean(axis=1).tolist()
    if best_exit([*agreement, 1.0])[0] < WORTHWHILE:
        best = max(agreement, default=0.0)
        warnings.warn(
            f"{lm.name}: its early exits agree with its last layer at most {best:.0%} of the time, "
            "too rarely for drafts to save anything: the text stays right, but use method "
            '"vanilla", or train the exits (dynexit train).',
            stacklevel=3,
        )
