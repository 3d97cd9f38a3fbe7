"""Whether a loaded model is, module by module, what its family's code builds from its config.

Our forward pass reads weights and calls no module. So nothing else may stand between the weights
and the result: adapters, quantised or wrapped layers, hooks, replaced methods, changed settings,
attention functions of one's own.
"""

import copy
import inspect
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as everywhere
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from dynexit.model.loading import Unfilled

HOMES = ("torch.nn.", "transformers.")
LISTENING = "transformers.utils.output_capturing"  # its hooks change nothing
IDLE = {"training", "padding_idx", "gradient_checkpointing", "name_or_path", "vocab_size"}
OUTSIDE = {"generate", "save_pretrained", "push_to_hub"}  # methods that no forward pass calls


def oddity(model: Any) -> str | None:
    """What a model has that its family's code has not, such as "model.norm has a hook"."""
    own, usual = dict(model.named_modules(remove_duplicate=False)), _built_anew(model)
    for name in {**own, **usual}:
        if what := _difference(own.get(name), usual.get(name)):
            return f"{name or type(model).__name__} {what}"
    if len({(p.dtype, p.device) for p in model.parameters()}) > 1:
        return "its weights have several dtypes or lie on several devices"
    attend = _attention(model)
    if attend is not None and not getattr(attend, "__module__", "").startswith(HOMES):
        return f"it attends by {model.config._attn_implementation}, which is not transformers'"
    return None


def facts(model: Any) -> list[tuple[Any, ...]]:
    """What tells that a model is not what it was; weights that change in place are followed."""
    return [(id(_attention(model)),), *map(_facts, model.modules())]


def _attention(model: Any) -> Any:
    """The function that attends; None is the family's own."""
    return ALL_ATTENTION_FUNCTIONS.get(model.config._attn_implementation)


def _facts(module: nn.Module) -> tuple[Any, ...]:
    held = (*_hooks(module), *replaced_methods(module).values())
    tensors = (*module._parameters.values(), *module._buffers.values())
    return id(module), *map(id, (*held, *tensors)), *_settings(module).items()


def replaced_methods(module: nn.Module) -> dict[str, Any]:
    """Methods that an instance has in the place of its class's; compiled ones do the same."""
    found = {}
    for name, value in vars(module).items():
        usual = getattr(type(module), name, None)
        if name not in OUTSIDE and callable(value) and callable(usual):
            original = getattr(value, "_torchdynamo_orig_callable", value)
            if getattr(original, "__func__", original) is not usual:
                found[name] = value
    return found


def _built_anew(model: Any) -> dict[str, nn.Module]:
    """The modules that the model's class makes of its configuration, without memory."""
    with torch.device("meta"), Unfilled():
        return dict(type(model)(copy.deepcopy(model.config)).named_modules(remove_duplicate=False))


def _difference(module: nn.Module | None, usual: nn.Module | None) -> str | None:
    if module is None or usual is None:
        return "is missing" if module is None else "is not part of this family"
    kind, forward = type(module), inspect.unwrap(type(module).forward)
    if kind is not type(usual) or not kind.__module__.startswith(HOMES):
        return f"is a {kind.__module__}.{kind.__qualname__}"
    if not forward.__module__.startswith(HOMES):
        return f"runs by {forward.__module__}.{forward.__qualname__}"
    if _hooks(module):
        return "has a hook"
    if replaced := replaced_methods(module):
        return f"has another {next(iter(replaced))}"
    if odd := [p for p in module._parameters.values() if type(p) not in (nn.Parameter, type(None))]:
        return f"has weights of type {type(odd[0]).__name__}"
    own, theirs = (_settings(one) | _sizes(one) for one in (module, usual))
    changed = [name for name, value in theirs.items() if name not in own or own[name] != value]
    extra = _sizes(module).keys() - theirs.keys()
    return f"has another {min(changed or extra)}" if changed or extra else None


def _hooks(module: nn.Module) -> list[Any]:
    """All that may change what goes in or out."""
    of_all = (everywhere._global_forward_pre_hooks, everywhere._global_forward_hooks)
    own = (module._forward_pre_hooks, module._forward_hooks)
    hooks = [hook for registered in (*own, *of_all) for hook in registered.values()]
    return [hook for hook in hooks if getattr(hook, "__module__", "") != LISTENING]


def _settings(module: nn.Module) -> dict[str, Any]:
    plain = (bool, int, float, str, type(None))
    shown = {n: v for n, v in vars(module).items() if not n.startswith("_") and n not in IDLE}
    return {name: value for name, value in shown.items() if isinstance(value, plain)}


def _sizes(module: nn.Module) -> dict[str, Any]:
    """Shapes of a module's own parameters."""
    return {n: None if p is None else p.shape for n, p in module._parameters.items()}
