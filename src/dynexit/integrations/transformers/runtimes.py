"""What runs a model that transformers has loaded, kept as long as the model lives."""

from typing import Any
from weakref import WeakKeyDictionary

from dynexit.errors import DynexitError
from dynexit.integrations.transformers.sharing import copied_layer, known_config, sharing
from dynexit.integrations.transformers.trial import adapted
from dynexit.model.interface import Model
from dynexit.model.native.loading import obstacle
from dynexit.model.native.transformer import NativeTransformer

ENDS = ("embedding", "final_norm", "head")

_found: WeakKeyDictionary[Any, tuple[list[int], Model]] = WeakKeyDictionary()
_packed: WeakKeyDictionary[Any, Model] = WeakKeyDictionary()


def runtime_of(model: Any) -> Model:
    """What `accelerate` packed; else our forward pass over the model's weights; else its layers.

    Raises:
        DynexitError: a model that cannot run in parts.
    """
    if model in _packed:
        return _packed[model]
    made_of = _made_of(model)
    if model not in _found or _found[model][0] != made_of:
        config = known_config(model)
        runtime: Model = adapted(model) if config is None else sharing(model, config)
        _found[model] = made_of, runtime
    return _found[model][1]


def _made_of(model: Any) -> list[int]:
    """What tells whether modules, parameters or hooks are others than they were."""
    modules = list(model.modules())
    hooks = [id(hook) for m in modules for hook in (*m._forward_hooks, *m._forward_pre_hooks)]
    return [*map(id, modules), *map(id, model.parameters()), *hooks]


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
    config = known_config(model)
    if config is None:
        raise DynexitError(
            f"{type(model).__name__} cannot be packed: the native runtime has only Llama, Mistral, "
            "Qwen2 and Qwen3, without sliding windows, adapters, quantisation or hooks."
        )
    if reason := obstacle(config, model.dtype, model.device):
        raise DynexitError(f"the native runtime cannot be used: {reason}.")
    native = NativeTransformer(config, model.dtype)
    ours = sharing(model, config)
    for name in ("embedding", "final_norm") if config.tie_embeddings else ENDS:
        native.pack(name, ours.get_submodule(name))
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
    _packed[model] = native
    return model
