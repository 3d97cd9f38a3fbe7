"""How well a model's early exits agree with its last layer, read off a text without decoding."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from dynexit.costs.paying import Promise, best_promise
from dynexit.costs.store import kept_costs
from dynexit.costs.table import Costs, rough_costs, trimmed_vocabulary
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
ADVICE = 'The text stays right, but use method "vanilla", or train the exits (dynexit train).'
SAMPLED = 64  # tokens of it that are looked at when a model is loaded: of a large one each costs


def read_text(lm: "LanguageModel", text: str) -> LayerReadings:
    """Readings of every exit layer over `text`, cut to the model's context; exits choose among the
    tokens that drafts read.
    """
    ids = torch.tensor(_ids(lm, text), device=lm.model.device)
    return read_layers(lm.model, ids, trimmed_vocabulary(lm.model.choosable))


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


def promise(lm: "LanguageModel", agreement: Sequence[float], costs: Costs) -> Promise:
    """What the best exit promises, by the agreement of layers 1, 2, ... with the last."""
    exits = dict(enumerate(agreement, start=1))
    return best_promise(costs, lm.num_layers, exits, trimmed_vocabulary(lm.model.choosable))


@torch.inference_mode()
def sample_exits(lm: "LanguageModel") -> ShadowTokens:
    """What every exit, by the part of the head that drafts read, says of a sample text."""
    ids, limit = _ids(lm, SAMPLE)[:SAMPLED], trimmed_vocabulary(lm.model.choosable)
    steps = layer_predictions(lm.model, ids, 1, len(ids), limit)
    tokens, confidence = drive(lm.model, steps)
    layers = tuple(range(1, lm.num_layers))
    return ShadowTokens(tokens[:-1] == tokens[-1], confidence[:-1], layers)


def warn_if_useless(lm: "LanguageModel") -> None:
    """One warning where no exit pays.

    By what passes cost here, where that has been measured: measuring takes longer than loading a
    small model. Else by the sizes of a layer and of the head.
    """
    agreement = lm.sample.matched.mean(axis=1).tolist()
    costs, by = kept_costs(lm.model), "what passes cost on this machine"
    if costs is None:
        config, by = lm.model.config, "the sizes of its layers and its head"
        head = config.head_parameters / config.layer_parameters
        costs = rough_costs(head, lm.model.choosable)
    best = promise(lm, agreement, costs)
    if not best.pays:
        told = _none_pays(best, agreement, by)
        warnings.warn(f"{lm.name}: {told}. {ADVICE}", stacklevel=3)


def _none_pays(best: Promise, agreement: Sequence[float], by: str) -> str:
    if not agreement:
        return "a model of one layer has no early exits to draft with"
    return (
        f"none of its early exits pays. The best, of {best.exit_layer} layers, agrees with the "
        f"last layer {agreement[best.exit_layer - 1]:.0%} of the time, and drafting with it "
        f"promises {best.speedup:.2f}x plain decoding's speed, by {by}"
    )
