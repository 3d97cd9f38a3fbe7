"""Model families: one file each, found by the architecture name in `config.json`.

A family is a module with `ARCHITECTURES` (names that it answers to), `MODEL_TYPE` (its name in
transformers) and `parse(config) -> ModelConfig`; `MISSING` holds values of keys that a config may
leave out, where they are the family's own. Weight names are those of `weights.py`, where the
family's `TENSORS` does not say otherwise. Families in the folder `diffusion` write no text.
"""

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from types import ModuleType

from dynexit.errors import DynexitError
from dynexit.model.config import Json, ModelConfig
from dynexit.model.families import diffusion
from dynexit.plain import shown


def families() -> dict[str, ModuleType]:
    """Every family of models that write text, by its model type."""
    return _found(__path__, __name__)


def diffusion_families() -> dict[str, ModuleType]:
    """Every family of masked-diffusion models, by its model type."""
    return _found(diffusion.__path__, diffusion.__name__)


def _found(path: Iterable[str], package: str) -> dict[str, ModuleType]:
    names = sorted(m.name for m in pkgutil.iter_modules(path) if not m.ispkg)
    modules = [importlib.import_module(f"{package}.{name}") for name in names]
    return {module.MODEL_TYPE: module for module in modules}


@cache
def family(name: str) -> ModuleType:
    """A family of either kind."""
    return {**families(), **diffusion_families()}[name]


def tensor_name(of: str, name: str) -> str:
    """What a family calls a tensor that has this name in Llama."""
    for part, theirs in getattr(family(of), "TENSORS", {}).items():
        name = name.replace(part, theirs)
    return name


def parse_config(config: Json) -> ModelConfig:
    """The shape of the model that `config` (a parsed `config.json`) describes.

    Raises:
        DynexitError: an architecture or a feature that the runtime does not run, by name.
    """
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named else "none named"
    modules = [*families().values(), *diffusion_families().values()]
    for module in modules:
        if architecture in module.ARCHITECTURES:
            parsed: ModelConfig = module.parse(config)
            return parsed
    known = ", ".join(name for m in modules for name in m.ARCHITECTURES)
    raise DynexitError(
        f"architecture {shown(architecture)} is not supported: dynexit runs {known}."
    )
