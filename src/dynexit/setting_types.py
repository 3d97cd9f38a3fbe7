"""Whether a method's settings are of the types that its parameters are annotated with.

What has no annotation, or one that is not known here, is not checked: a user's own controller may
take anything.
"""

import inspect
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from dynexit.errors import DynexitError
from dynexit.plain import fits, wanted


def check_types(factory: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Compare settings with the annotations of a method's parameters.

    Raises:
        DynexitError: a setting of another type.
    """
    parameters = _parameters(factory)
    for name, value in given.items():
        parameter = parameters.get(name)
        if parameter is None or value is parameter.default:
            continue
        if _simple(parameter.annotation) and not fits(value, parameter.annotation):
            raise DynexitError(f"{name} is {value!r}: it must be {wanted(parameter.annotation)}.")


def _simple(annotation: Any) -> bool:
    """Whether it is made of numbers, text and choices alone."""
    if get_origin(annotation) in (Union, UnionType):
        return all(map(_simple, get_args(annotation)))
    return get_origin(annotation) in (None, Literal)


def _parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(factory, eval_str=True).parameters
    except Exception:  # a user's annotations may be text that means nothing here
        return inspect.signature(factory).parameters
