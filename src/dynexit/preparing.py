"""Opens a text on a real model: with what its controller asks for beside its settings, which are
costs, a copy to draft with, and what the exits say of a text.

All that is made for a model is the same whatever the settings: texts of others use it, too.
"""

from collections.abc import Callable, Sequence
from threading import Lock
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

_making = Lock()  # of what a model has one of
_samples: WeakKeyDictionary[Model, ShadowTokens] = WeakKeyDictionary()

Text = Callable[[], Sequence[int]]


def sample_of(model: Model, text: Text) -> ShadowTokens:
    """What every exit says of a text: of the first one that is given for this model."""
    if model not in _samples:
        _samples[model] = sample_exits(model, text())
    return _samples[model]


def facts_of(
    controller: Controller,
    model: Model,
    text: Text,
    table: SuccessorTable | None,
    earlier: NativeEarlier | None = None,
) -> Facts:
    """What a controller asks for of the model that it will decode with.

    Args:
        text: gives tokens for `sample_of`.
        table: what the model's own text taught of next tokens, if there is one.
        earlier: texts that this one may be drafted from, and which it joins.

    Raises:
        DynexitError: a copy in int8 of a model that cannot make one.
    """
    layers, tokens = model.config.num_layers, model.draft_tokens.usual(model.vocabulary_size)
    with _making:
        if controller.int8:
            model.copy_for_drafts(max(layers // 2, 1), tokens)
        costs = costs_of(model, controller.int8) if controller.reads_costs else None
        sample = sample_of(model, text) if controller.reads_sample else None
    default = tokens if controller.reads_costs else None
    read = controller.draft_vocabulary or default
    return Facts(layers, costs, sample, read, table, earlier)


def open_decoding(
    model: Model,
    controller: Controller,
    job: Job,
    text: Text,
    table: SuccessorTable | None,
    earlier: NativeEarlier | None = None,
) -> Decoding:
    """A text of which nothing is decoded yet; further arguments and errors as in `facts_of`."""
    return Decoding(model, controller, facts_of(controller, model, text, table, earlier), job)
