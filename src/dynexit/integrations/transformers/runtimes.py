"""What runs a model that transformers has loaded, kept as long as the model lives."""

from typing import Any
from weakref import WeakKeyDictionary

from dynexit.errors import DynexitError
from dynexit.integrations.transformers.plain import facts, oddity
from dynexit.integrations.transformers.sharing import copied_layer, shape_of, sharing
from dynexit.integrations.transformers.trial import adapted
from dynexit.model.interface import Described
from dynexit.model.native.loading import obstacle
from dynexit.model.native.transformer import NativeTransformer

ENDS = ("embedding", "final_norm", "head")

Facts = list[Any]

_found: WeakKeyDictionary[Any, tuple[Facts, Described]] = WeakKeyDictionary()
_packed: WeakKeyDictionary[Any, tuple[Facts, list[int], Described]] = WeakKeyDictionary()


def runtime_of(model: Any) -> Described:
    """What `accelerate` packed; else our forward pass over the model's weights; else its layers.

    Raises:
        DynexitError: a model that cannot run in parts, or is not what `accelerate` packed.
    """
    made_of = facts(model)
    if model in _packed:
        return _packed_of(model, made_of)
    if model not in _found or _found[model][0] != made_of:
        _found[model] = made_of, _runtime(model)
    return _found[model][1]


def _runtime(model: Any) -> Described:
    try:
        config = shape_of(model)
    except DynexitError:
        return adapted(model)
    return sharing(model, config)


def _packed_of(model: Any, made_of: Facts) -> Described:
    then, parts, packed = _packed[model]
    if made_of != then:
        changed = oddity(model) or (parts != _parts(model) and "it got other modules or weights")
        if changed:
            raise DynexitError(
                f"{type(model).__name__} has changed since `accelerate` packed it: {changed}. Undo "
                "or merge that change, and call `accelerate` again."
            )
        _packed[model] = made_of, parts, packed
    return packed


def _parts(model: Any) -> list[int]:
    return [*map(id, model.modules()), *map(id, model.parameters())]


def accelerate(model: Any, release: bool = False) -> Any:
    """Pack a model's weights for the native runtime, which `generate_hf` uses from then on.

    The packed weights are a second copy, unless `release` gives the model's own up. They are what
    the weights were now: after training further, call this again.

    Args:
        model: a Llama, Mistral, Qwen2 or Qwen3 of transformers, on a CPU in bf16 or fp32.
        release: let go of the model's own weights, layer by layer as they are packed. It can then
            generate by way of `generate_hf` and do nothing else: its parameters have no values.

    Returns:
        `model`.

    Raises:
        DynexitError: a model that the native runtime does not run.
    """
    try:
        config = shape_of(model)
    except DynexitError as error:
        raise DynexitError(f"{type(model).__name__} cannot be packed: {error}") from error
    if reason := obstacle(config, model.dtype, model.device):
        raise DynexitError(f"the native runtime cannot be used: {reason}.")
    native = NativeTransformer(config, model.dtype)
    ours = sharing(model, config)
    for name in ("embedding", "final_norm") if config.tie_embeddings else ENDS:
        native.pack(name, ours.get_submodule(name))
    native.rotary = ours.rotary
    del ours
    for index in range(config.num_layers):
        layer = copied_layer(model, config, index)
        for name, module in layer.named_children():
            native.pack(f"layers.{index}.{name}", module)
        if release:
            model.model.layers[index].to_empty(device="meta")
    if release:
        model.to_empty(device="meta")
        _found.pop(model, None)
    _packed[model] = facts(model), _parts(model), native
    return model
