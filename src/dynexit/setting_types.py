"""Whether a method's settings are of the types that its parameters are annotated with.

What has no annotation, or one that is not known here, is not checked: a user's own controller may
take anything.
"""

import inspect
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from dynexit.errors import DynexitError

KINDS: dict[Any, tuple[type, str]] = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    bool: (bool, "true or false"),
    str: (str, "text"),
    NoneType: (NoneType, ""),
}


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
        kinds = _kinds(parameter.annotation)
        if kinds and not any(_fits(value, kind) for kind in kinds):
            wanted = " or ".join(told for kind in kinds if (told := _told(kind)))
            raise DynexitError(f"{name} is {value!r}: it must be {wanted or 'None'}.")


def _parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(factory, eval_str=True).parameters
    except Exception:  # a user's annotations may be text that means nothing here
        return inspect.signature(factory).parameters


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """Types and choices that an annotation is made of; none if one of them is not known."""
    if get_origin(annotation) in (Union, UnionType):
        parts = [_kinds(part) for part in get_args(annotation)]
        return tuple(kind for part in parts for kind in part) if all(parts) else ()
    known = annotation.__hash__ is not None and annotation in KINDS
    return (annotation,) if known or get_origin(annotation) is Literal else ()


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(kind))
    if isinstance(value, bool):  # which Python counts among the whole numbers
        return kind is bool
    return isinstance(value, KINDS[kind][0])


def _told(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    return KINDS[kind][1]
