"""Opens a text on a real model and prepares what its controller needs: costs of passes, an int8
copy to draft with, and every exit's predictions for a sample text.

These belong to the model and do not depend on settings, so all its texts share them.
"""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple
from weakref import WeakKeyDictionary

from dynexit.agreement import sample_exits
from dynexit.costs.store import costs_of
from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.facts import Facts
from dynexit.decoding.job import Job
from dynexit.decoding.records import ShadowTokens
from dynexit.decoding.sequence import Decoding
from dynexit.decoding.successors import SuccessorTable
from dynexit.model.interface import Model
from dynexit.model.native.earlier import NativeEarlier
from dynexit.model.skips import Skips

_making = Lock()  # while something that a model has only once is made
_samples: WeakKeyDictionary[Model, ShadowTokens] = WeakKeyDictionary()

Text = Callable[[], Sequence[int]]


class Known(NamedTuple):
    """What belongs to a checkpoint, found when it is needed.

    Attributes:
        text: returns the tokens for `sample_of`.
        table: the learned table of likely next tokens, if there is one.
        skips: returns the sublayers to leave out in drafts that a search found, if there are any.
    """

    text: Text
    table: SuccessorTable | None = None
    skips: Callable[[], Skips | None] = lambda: None


def sample_of(model: Model, text: Text) -> ShadowTokens:
    """Every exit's predictions for a text; the first text given for a model is used ever after."""
    if model not in _samples:
        _samples[model] = sample_exits(model, text())
    return _samples[model]


def facts_of(
    controller: Controller, model: Model, known: Known, earlier: NativeEarlier | None = None
) -> Facts:
    """Collect what a controller needs to know of the model that it will decode with.

    Args:
        earlier: earlier texts to draft from; this text is added to them.

    Raises:
        DynexitError: the controller needs an int8 copy, and the model cannot make one.
    """
    layers, with_text = model.config.num_layers, controller.text_tokens and model.reads_text
    tokens = model.draft_tokens.usual(model.vocabulary_size, with_text)
    with _making:
        if controller.int8:
            model.copy_for_drafts(max(layers // 2, 1), tokens)
        costs = costs_of(model, controller.int8) if controller.reads_costs else None
        sample = sample_of(model, known.text) if controller.reads_sample else None
    default = tokens if controller.reads_costs else None
    read = controller.draft_vocabulary or default
    skips = known.skips() if controller.reads_skips else None
    return Facts(layers, costs, sample, read, known.table, earlier, skips)


def open_decoding(model: Model, controller: Controller, job: Job, known: Known) -> Decoding:
    """Prepare a text; nothing is decoded yet. Errors are as in `facts_of`."""
    facts = facts_of(controller, model, known, job.reuse.earlier)
    return Decoding(model, controller, facts, job)
