"""Whether a method's settings fit the annotations of its parameters: types, choices and bounds.

What has no annotation, or one that is not known here, is not checked: a user's own controller may
take anything.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from dynexit.errors import DynexitError
from dynexit.plain import fits, shown, wanted


def check_types(factory: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Compare settings with the annotations of a method's parameters.

    Raises:
        DynexitError: a setting of another type, or out of bounds.
    """
    parameters = _parameters(factory)
    for name, value in given.items():
        parameter = parameters.get(name)
        if parameter is not None and value is not parameter.default:
            check_type(name, value, parameter.annotation)


def check_type(name: str, value: Any, annotation: Any) -> None:
    """Compare one setting with an annotation.

    Raises:
        DynexitError: it is of another type, or out of bounds.
    """
    if _simple(annotation) and not fits(value, annotation):
        raise DynexitError(f"{name} is {shown(value)}: it must be {wanted(annotation)}.")


def _simple(annotation: Any) -> bool:
    """Whether it is made of numbers, text and choices alone."""
    if get_origin(annotation) in (Union, UnionType):
        return all(map(_simple, get_args(annotation)))
    return get_origin(annotation) in (None, Literal, Annotated)


@cache
def _parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(factory, eval_str=True).parameters
    except Exception:  # a user's annotations may be text that means nothing here
        return inspect.signature(factory).parameters
