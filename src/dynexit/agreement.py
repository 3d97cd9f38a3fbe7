"""How often a model's early exits agree with its last layer, measured on a known text."""

from collections.abc import Sequence

import torch

from dynexit.costs.store import kept_costs
from dynexit.decoding.costs import Costs, rough_costs
from dynexit.decoding.paying import MARGIN, Promise, best_promise
from dynexit.decoding.predictions import layer_predictions
from dynexit.decoding.records import ShadowTokens
from dynexit.decoding.requests import drive
from dynexit.model.interface import Configured, Model
from dynexit.model.probe import LayerReadings, read_layers

SAMPLE = (
    "Question: A shop sells pens in boxes of twelve. If a teacher buys 4 boxes and gives away 17 "
    "pens, how many pens are left?\nAnswer: The teacher buys 4 * 12 = 48 pens. After giving away "
    "17 there are 48 - 17 = 31 pens left. The sky was grey and the road was long, and they walked "
    "on without a word until the first lights of the town came into sight."
)
WITHOUT_EXITS = 'The text stays right. Method "auto" drafts from what was learned of the model.'
ADVICE = (
    'The text stays right, but use method "auto", which may do without exits, run `dynexit learn`, '
    "or train the exits (`dynexit train`)."
)
SAMPLED = 64  # tokens of it that are looked at when a model is loaded: of a large one each costs


def read_exits(model: Model, ids: Sequence[int]) -> LayerReadings:
    """Readings of every exit layer over a text's tokens; exits choose among those that drafts
    read.
    """
    given = torch.tensor(ids, device=model.device)
    return read_layers(model, given, model.draft_tokens.usual(model.vocabulary_size))


def promise(model: Model, agreement: Sequence[float], costs: Costs) -> Promise:
    """What the best exit promises, by the agreement of layers 1, 2, ... with the last."""
    exits = dict(enumerate(agreement, start=1))
    return best_promise(
        costs, model.config.num_layers, exits, model.draft_tokens.usual(model.vocabulary_size)
    )


@torch.inference_mode()
def sample_exits(model: Model, ids: Sequence[int]) -> ShadowTokens:
    """What every exit, by the part of the head that drafts read, says of a sample's tokens."""
    few, limit = list(ids[:SAMPLED]), model.draft_tokens.usual(model.vocabulary_size)
    few = few if len(few) > 1 else 2 * few  # nothing predicts the first token
    tokens, confidence = drive(model, layer_predictions(model, few, 1, len(few), limit))
    layers = tuple(range(1, model.config.num_layers))
    return ShadowTokens(tokens[:-1] == tokens[-1], confidence[:-1], layers)


def best_exit(model: Configured, sample: ShadowTokens) -> tuple[Promise, str]:
    """What the best exit promises, and by what.

    By what passes cost here, where that has been measured: measuring takes longer than loading a
    small model. Else by the sizes of a layer and of the head.
    """
    costs, by = kept_costs(model), "what passes cost on this machine"
    if costs is None:
        config, by = model.config, "the sizes of its layers and its head"
        costs = rough_costs(config.head_parameters / config.layer_parameters, model.vocabulary_size)
    return promise(model, sample.matched.mean(axis=1).tolist(), costs), by


def why_none_pays(model: Configured, sample: ShadowTokens) -> str | None:
    """Why no early exit of a model pays, without a full stop; None if one does."""
    best, by = best_exit(model, sample)
    if best.pays:
        return None
    if not len(sample.matched):
        return "a model of one layer has no early exits to draft with"
    agreement = sample.matched[best.exit_layer - 1].mean()
    return (
        f"none of its early exits pays. The best, of {best.exit_layer} layers, agrees with the "
        f"last layer {agreement:.0%} of the time, and drafting with it "
        f"promises {best.speedup:.3f}x plain decoding's speed, below the {MARGIN:.2f}x that it "
        f"must promise, by {by}"
    )
