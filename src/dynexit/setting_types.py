"""Whether a method's settings are of the types, and within the bounds, that its parameters are
annotated with.

What has no annotation, or one that is not known here, is not checked: a user's own controller may
take anything.
"""

import inspect
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from dynexit.errors import DynexitError

KINDS: dict[Any, tuple[type, str]] = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    bool: (bool, "true or false"),
    str: (str, "text"),
    NoneType: (NoneType, ""),
}
LONG = 128  # bits of a whole number, past which its digits say nothing


@dataclass(frozen=True)
class Within:
    """Bounds of a number, as `Annotated[int, Within(1, 64)]`. They exclude what is no number.

    Attributes:
        above: whether `least` itself is too small.
    """

    least: float
    most: float
    above: bool = False

    def __contains__(self, value: Any) -> bool:
        return bool(self.least <= value <= self.most) and not (self.above and value == self.least)

    def __str__(self) -> str:
        if self.above:
            return f"above {self.least:g} and at most {self.most:.10g}"
        return f"from {self.least:g} to {self.most:.10g}"


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
    kinds = _kinds(annotation)
    fitting = [kind for kind in kinds if _fits(value, kind)]
    if kinds and not fitting:
        wanted = " or ".join(told for kind in kinds if (told := _told(kind)))
        raise DynexitError(f"{name} is {shown(value)}: it must be {wanted or 'None'}.")
    for bounds in (bounds for kind in fitting[:1] for bounds in _bounds(kind)):
        if value not in bounds:
            told = f"{_told(fitting[0])} {bounds}"
            raise DynexitError(f"{name} is {shown(value)}: it must be {told}.")


def shown(value: Any) -> str:
    """A value as a sentence can hold it: whatever is long is cut."""
    if isinstance(value, int) and value.bit_length() > LONG:
        return f"a number of {value.bit_length()} bits"
    return reprlib.repr(value)


@cache
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
    if get_origin(annotation) is Annotated:
        return (annotation,) if _kinds(annotation.__origin__) else ()
    known = annotation.__hash__ is not None and annotation in KINDS
    return (annotation,) if known or get_origin(annotation) is Literal else ()


def _bounds(kind: Any) -> list[Within]:
    noted = kind.__metadata__ if get_origin(kind) is Annotated else ()
    return [bounds for bounds in noted if isinstance(bounds, Within)]


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Annotated:
        return _fits(value, kind.__origin__)
    if get_origin(kind) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(kind))
    if isinstance(value, bool):  # which Python counts among the whole numbers
        return kind is bool
    return isinstance(value, KINDS[kind][0])


def _told(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        return _told(kind.__origin__)
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    return KINDS[kind][1]
