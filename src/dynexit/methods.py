"""Methods by name: the package's own, or a class in a user's file.

Settings may be part of the name: "layerskip:exit_layer=3,speculation_length=6".
"""

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from dynexit.decoding.controllers import Controller, Factory, methods
from dynexit.decoding.controllers.base import SecondModel, Vocabulary
from dynexit.errors import DynexitError
from dynexit.plain import shown
from dynexit.setting_types import check_type, check_types

DEFAULT_METHOD = "auto"
COMMON = {"draft_vocabulary": Vocabulary, "text_tokens": bool}  # settings of every method
_OWN: set[str] = set()  # files of users that have been run here
SHOWN = 60  # characters of a setting that an error repeats


class UnknownSettingError(DynexitError):
    """The method has no setting of this `name`."""

    def __init__(self, sentence: str, name: str) -> None:
        super().__init__(sentence)
        self.name = name


def make_controller(method: str | Controller, **settings: Any) -> Controller:
    """Make a controller from a method's name or `FILE.py:CLASS`, or return a controller unchanged.

    Settings that are None keep their defaults; the others override those in the name.

    Raises:
        DynexitError: an unknown method or setting, or a value that the setting does not allow.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if isinstance(method, Controller):
        if given:
            raise DynexitError(
                f"{next(iter(given))} is a setting of the controller: set it on the controller."
            )
        _check_made(method)
        return method
    if not isinstance(method, str):
        raise DynexitError(f"method is {method!r}: give a name or a controller object.")
    method, named = split_method(method)
    given = {**named, **given}
    factory = _from_file(method) if ".py:" in method else methods().get(method)
    if factory is None:
        known = ", ".join(sorted(methods()))
        raise DynexitError(
            f"method {_cut(method)} is not known: use one of {known}, or FILE.py:CLASS."
        )
    accepted = settings_of(factory)
    if unknown := [name for name in given if name not in accepted]:
        takes = ", ".join(accepted)
        raise UnknownSettingError(
            f"method {method!r} has no setting {shown(unknown[0])}: it takes {takes}.", unknown[0]
        )
    common = {name: given.pop(name) for name in COMMON if name in given}
    for name, value in common.items():
        check_type(name, value, COMMON[name])
    check_types(factory, given)
    try:
        controller = factory(**given)
    except TypeError as error:
        raise DynexitError(f"method {method!r}: {error}.") from error
    for name, value in common.items():
        setattr(controller, name, value)
    return controller


def _check_made(controller: Controller) -> None:
    """Check the settings of a controller that was made elsewhere."""
    if is_dataclass(controller):
        named = [field.name for field in fields(controller)]
        check_types(type(controller), {name: getattr(controller, name) for name in named})
    check_type("draft_vocabulary", controller.draft_vocabulary, Vocabulary | None)
    check_type("text_tokens", controller.text_tokens, bool)


def usable_controller(method: str, second: bool, **settings: Any) -> Controller:
    """Make a controller before a model is loaded.

    Args:
        second: whether there will be a draft model.

    Raises:
        DynexitError: as `make_controller`, or the method needs a draft model.
    """
    controller = make_controller(method, **settings)
    if controller.second_model and not second:
        raise DynexitError(f"method {method!r} drafts with a second model: give --draft-model.")
    return controller


def lossless_methods(num_layers: int, second: SecondModel | None) -> list[str]:
    """The package's lossless methods for a model of `num_layers` and a kind of draft model."""
    made = {name: make() for name, make in methods().items()}
    return [
        name
        for name, controller in made.items()
        if controller.lossless
        and controller.second_model in (None, second)
        and (num_layers > 1 or "early-exit" not in controller.drafters)
    ]


def is_allowed(method: str, allowed: Sequence[str]) -> bool:
    """Whether `allowed` includes a method. An entry NAME allows all its settings, an entry
    NAME:setting=value only these.
    """
    return method in allowed or split_name(method) in allowed


def split_name(method: str) -> str:
    """The name in `NAME:setting=value,setting=value`, even if the settings are malformed."""
    name, _, settings = method.rpartition(":")
    return name if "=" in settings else method


def settings_of(factory: Factory) -> list[str]:
    """Names of the settings that a method takes."""
    return [*inspect.signature(factory).parameters, *COMMON]


def has_setting(method: str, name: str) -> bool:
    """Whether a method of the package takes a setting."""
    factory = methods().get(split_name(method))
    return factory is not None and name in settings_of(factory)


def split_method(method: str) -> tuple[str, dict[str, Any]]:
    """The name and the settings of `NAME:setting=value,setting=value`."""
    name = split_name(method)
    settings = method[len(name) + 1 :]
    return name, parse_settings(settings.split(",")) if settings else {}


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs; values are read as YAML: numbers, true, false, text.

    Raises:
        DynexitError: a pair without an equals sign or a value, or a value that is not YAML.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (equals and value.strip()):
            raise DynexitError(f"setting {_cut(pair)} is not of the form name=value.")
        try:
            settings[name.strip().replace("-", "_")] = _read(value)
        except Exception:  # YAML's own errors, and what Python says of dates, numbers and depth
            raise DynexitError(f"setting {_cut(pair)} has a value that cannot be read.") from None
    return settings


def _cut(pair: str) -> str:
    return repr(pair if len(pair) <= SHOWN else f"{pair[:SHOWN]}...")


def _read(value: str) -> Any:
    """A value read as YAML; 1e-3 is also a number, though YAML requires 1.0e-3."""
    found = yaml.safe_load(value)
    if not (isinstance(found, str) and found[:1] in tuple("+-.0123456789")):
        return found
    try:
        return float(found)
    except ValueError:
        return found


def _from_file(method: str) -> Factory:
    """The controller class that `FILE.py:CLASS` names. This runs the user's own file."""
    name, _, class_name = method.rpartition(":")
    path = Path(name)
    if not path.is_file():
        raise DynexitError(f"method {method!r}: file {name!r} does not exist.")
    spec = importlib.util.spec_from_file_location(f"dynexit_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise DynexitError(f"{name} is not a Python file.")
    _OWN.add(str(spec.origin))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file may raise
        raise DynexitError(f"{name} cannot be run: {type(error).__name__}: {error}.") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Controller)):
        raise DynexitError(f"{name} has no class {class_name!r} that extends dynexit.Controller.")
    return found


def own_fault(error: BaseException) -> str | None:
    """Where and how a user's own method failed; None if the error is not from such a method."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename in _OWN]
    if not frames:
        return None
    at = frames[-1]
    told = f"{type(error).__name__}: {error}".rstrip(".: ")
    return f"{at.filename}, line {at.lineno}, in {at.name}: {told}."
