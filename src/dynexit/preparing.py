"""What a controller asks for beside its settings: costs, a trimmed head, a copy to draft with, and
what the exits say of a text.

All that is made for a model is the same whatever the settings: texts of others use it, too.
"""

from collections.abc import Callable, Sequence
from threading import Lock
from weakref import WeakKeyDictionary

from dynexit.agreement import sample_exits
from dynexit.costs.store import costs_of
from dynexit.costs.table import trimmed_vocabulary
from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.records import ShadowTokens
from dynexit.model.interface import Model

_making = Lock()  # of what a model has one of
_samples: WeakKeyDictionary[Model, ShadowTokens] = WeakKeyDictionary()

Text = Callable[[], Sequence[int]]


def sample_of(model: Model, text: Text) -> ShadowTokens:
    """What every exit says of a text: of the first one that is given for this model."""
    if model not in _samples:
        _samples[model] = sample_exits(model, text())
    return _samples[model]


def prepare(controller: Controller, model: Model, text: Text) -> None:
    """Give a controller what it needs of the model that it will decode with.

    Args:
        text: gives tokens for `sample_of`.

    Raises:
        DynexitError: a copy in int8 of a model that cannot make one.
    """
    tokens = trimmed_vocabulary(model.vocabulary_size)
    with _making:
        if controller.int8:
            model.copy_for_drafts(max(model.config.num_layers // 2, 1), tokens)
        if controller.reads_costs:
            controller.costs = costs_of(model, controller.int8)
        if controller.reads_sample:
            controller.sample = sample_of(model, text)
    if controller.reads_costs:
        controller.draft_vocabulary = controller.draft_vocabulary or tokens
