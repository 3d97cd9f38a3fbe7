"""Model families: one file each, found by the architecture name in `config.json`.

A family is a module with `ARCHITECTURES` (names that it answers to), `MODEL_TYPE` (its name in
transformers) and `parse(config) -> ModelConfig`; `MISSING` holds values of keys that a config may
leave out, where they are the family's own. Weight names are those of `weights.py`.
"""

import importlib
import pkgutil
from types import ModuleType

from dynexit.errors import DynexitError
from dynexit.model.config import Json, ModelConfig
from dynexit.plain import shown


def families() -> dict[str, ModuleType]:
    """Every family module of this package, by its model type."""
    names = sorted(m.name for m in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {module.MODEL_TYPE: module for module in modules}


def parse_config(config: Json) -> ModelConfig:
    """The shape of the model that `config` (a parsed `config.json`) describes.

    Raises:
        DynexitError: an architecture or a feature that the runtime does not run, by name.
    """
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named else "none named"
    for module in families().values():
        if architecture in module.ARCHITECTURES:
            parsed: ModelConfig = module.parse(config)
            return parsed
    known = ", ".join(name for m in families().values() for name in m.ARCHITECTURES)
    raise DynexitError(
        f"architecture {shown(architecture)} is not supported: dynexit runs {known}."
    )
