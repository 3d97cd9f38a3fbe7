"""Predicts speed with what was learned: held-out greedy texts replayed at this machine's costs."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from dynexit.costs.store import costs_of
from dynexit.decoding.predictions import layer_predictions
from dynexit.decoding.requests import drive
from dynexit.decoding.successors import SuccessorTable
from dynexit.environment import environment
from dynexit.language_model import LanguageModel
from dynexit.learning.journal import Text
from dynexit.learning.judging import ALL, by_family
from dynexit.learning.learned import Prediction
from dynexit.model.interface import Model
from dynexit.replay.running import Replayed, Replaying, replay_all
from dynexit.replay.trace import BEST, Trace, TracedText, TraceInfo

METHOD = "auto:exits=false"  # the texts tell what the last layer says, not what exits do
EACH = 8  # texts of a family that are replayed
READ = 2  # texts of a family that exits read


def predict(lm: LanguageModel, table: SuccessorTable, texts: Sequence[Text]) -> Prediction | None:
    """Predict from held-out greedy texts; None without any, or for a model of one layer."""
    if not texts or lm.num_layers < 2:
        return None
    processor = environment(lm.model)["processor"]
    return Prediction(
        processor, _speedup(lm, table, _some(texts, EACH)), _agreement(lm.model, _some(texts, READ))
    )


def _speedup(
    lm: LanguageModel, table: SuccessorTable, texts: Sequence[Text]
) -> Mapping[str, float]:
    """Rounds are exact, seconds are the costs of passes: the controller's own are left out."""
    model, vocabulary = lm.model, lm.model.vocabulary_size
    info = TraceInfo(
        *(lm.name, lm.num_layers, vocabulary, model.config.max_positions),
        draft_vocabulary=model.draft_tokens.usual(vocabulary),
    )
    trace = Trace(info, [_traced(text, lm.num_layers) for text in texts])
    given = Replaying(trace, costs_of(model, False), table)
    plain, drafted = (_speeds(replay_all(given, method)) for method in ("vanilla", METHOD))
    return {family: round(speed / plain[family], 3) for family, speed in drafted.items()}


def _speeds(replayed: Replayed) -> Mapping[str, float]:
    return {ALL: replayed.tokens_per_second, **dict(sorted(replayed.by_task.items()))}


@torch.inference_mode()
def _agreement(model: Model, texts: Sequence[Text]) -> tuple[float, ...]:
    """Of exits 1, 2, ..., on the tokens that were written."""
    limit, agreed = model.draft_tokens.usual(model.vocabulary_size), []
    for text in texts:
        span = text.prompt_length, len(text.tokens)
        tokens, _ = drive(model, layer_predictions(model, list(text.tokens), *span, limit))
        agreed.append(tokens[:-1] == tokens[-1])
    shares = np.concatenate(agreed, axis=1).mean(axis=1)
    return tuple(round(float(share), 4) for share in shares)


def _some(texts: Sequence[Text], count: int) -> list[Text]:
    """The first texts of each family."""
    return [text for family in by_family(texts).values() for text in family[:count]]


def _traced(text: Text, num_layers: int) -> TracedText:
    """A text as a trace holds it; only its last layer says anything."""
    tokens = np.array(text.tokens, np.int32)
    best = np.zeros((num_layers, len(tokens) - 1, BEST), np.int32)
    best[-1, :, 0] = tokens[1:]
    sure = np.ones(best.shape, np.float32)
    name = f"{text.family}-{text.number}"
    return TracedText(name, text.prompt_length, 0, tokens, best, sure, best, sure)
