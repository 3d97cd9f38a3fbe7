"""What a controller asks for beside its settings: costs, a trimmed head, a copy to draft with."""

from dynexit.costs.store import costs_of
from dynexit.costs.table import trimmed_vocabulary
from dynexit.decoding.controllers.base import Controller
from dynexit.errors import DynexitError
from dynexit.model.interface import Model
from dynexit.model.native.transformer import NativeTransformer


def prepare(controller: Controller, model: Model) -> None:
    """Give a controller what it needs of the model that it will decode with.

    Raises:
        DynexitError: a copy in int8 of a model that cannot make one.
    """
    tokens = trimmed_vocabulary(model.choosable)
    if controller.int8:
        if not isinstance(model, NativeTransformer):
            raise DynexitError("drafts in int8 need the native runtime: leave out int8=true.")
        deepest = getattr(controller, "exit_layer", None) or 1
        layers = max(model.config.num_layers // 2, deepest)
        model.copy_for_drafts(layers, max(controller.draft_vocabulary or 0, tokens))
    if controller.reads_costs:
        controller.costs = costs_of(model)
        controller.draft_vocabulary = controller.draft_vocabulary or tokens
