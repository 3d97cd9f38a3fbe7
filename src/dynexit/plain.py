"""Builds dataclasses from plain JSON and YAML values, checked against their annotations.

Not responsible for files or for the meaning of values.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dynexit.errors import DynexitError, reason

T = TypeVar("T")
KINDS: dict[Any, tuple[type, str]] = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    bool: (bool, "true or false"),
    str: (str, "text"),
    NoneType: (NoneType, "nothing"),
}
LONG = 128  # bits of a whole number, past which its digits say nothing
LISTS = (list, tuple, Sequence)
MAPPINGS = (dict, Mapping)


@dataclasses.dataclass(frozen=True)
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


def parse_json(text: str, where: str) -> Any:
    """Any JSON.

    Raises:
        DynexitError: it is none; `where` names it.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # of thousands of digits, or as many brackets
        raise DynexitError(f"{where} is not JSON: {reason(error)}.") from error


def build(kind: type[T], values: Any, where: str) -> T:
    """A dataclass from an object of plain values; lists become what its annotations say.

    Raises:
        DynexitError: a value of another kind, or one that is missing or not known. `where` is the
            name of the whole.
    """
    if not isinstance(values, dict):
        raise DynexitError(f"{where} is {shown(values)}: it must be a list of names with values.")
    hints, fields = _fields(kind)  # type: ignore[arg-type]  # a class can be hashed
    if unknown := [name for name in values if name not in fields]:
        known = ", ".join(fields)
        raise DynexitError(f"{where} has an unknown {shown(unknown[0])}; it may have {known}.")
    for name, field in fields.items():
        if name not in values and _needed(field):
            raise DynexitError(f"{where} lacks {name!r}.")
    return kind(**{n: _made(hints[n], value, f"{where}.{n}") for n, value in values.items()})


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of an annotation; of one that is not known here, every value is."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Annotated:
        return fits(value, parts[0]) and all(value in one for one in _bounds(parts))
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in parts)
    if origin in LISTS:
        return isinstance(value, list | tuple) and _all_fit(value, parts[0])
    if origin in MAPPINGS:
        return isinstance(value, dict) and _all_fit(value.values(), parts[1])
    return _is(value, kind) if _known(kind) else True


def wanted(kind: Any) -> str:
    """An annotation in words, to stand after "it must be"."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(wanted(part) for part in parts if part is not NoneType)
    if origin is Annotated:
        bounds = [str(one) for one in _bounds(parts)]
        return " ".join([_named(parts[0]) if bounds else wanted(parts[0]), *bounds])
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin in LISTS:
        return f"a list, each {wanted(parts[0])}"
    if origin in MAPPINGS:
        return f"a list of names with values, each {wanted(parts[1])}"
    return "a finite number" if kind is float else _named(kind)


def _named(kind: Any) -> str:
    return KINDS[kind][1] if _known(kind) else "something"


def shown(value: Any) -> str:
    """A value in a sentence, however long it is."""
    if isinstance(value, int) and value.bit_length() > LONG:
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _bounds(parts: tuple[Any, ...]) -> list[Within]:
    return [bounds for bounds in parts if isinstance(bounds, Within)]


@cache
def _fields(kind: Any) -> tuple[dict[str, Any], dict[str, dataclasses.Field[Any]]]:
    return get_type_hints(kind, include_extras=True), {
        f.name: f for f in dataclasses.fields(kind) if f.init
    }


def _needed(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _made(kind: Any, value: Any, where: str) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return build(kind, value, where)  # type: ignore[arg-type]
    if NoneType in parts and value is not None and dataclasses.is_dataclass(parts[0]):
        return _made(parts[0], value, where)
    if origin in LISTS and dataclasses.is_dataclass(parts[0]) and isinstance(value, list):
        return [_made(parts[0], one, f"{where}[{place}]") for place, one in enumerate(value)]
    if origin in MAPPINGS and dataclasses.is_dataclass(parts[1]) and isinstance(value, dict):
        return {name: _made(parts[1], one, f"{where}.{name}") for name, one in value.items()}
    if not fits(value, kind):
        raise DynexitError(f"{where} is {shown(value)}: it must be {wanted(kind)}.")
    return tuple(value) if origin is tuple else value


def _all_fit(values: Any, kind: Any) -> bool:
    if kind is int and set(map(type, values)) <= {int}:
        return True  # thousands of token ids
    return kind is Any or all(fits(value, kind) for value in values)


def _known(kind: Any) -> bool:
    return kind.__hash__ is not None and kind in KINDS


def _is(value: Any, kind: Any) -> bool:
    if isinstance(value, bool):  # which Python counts among the whole numbers
        return kind is bool
    return isinstance(value, KINDS[kind][0]) and (kind is not float or _finite(value))


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all fractions
        return False
