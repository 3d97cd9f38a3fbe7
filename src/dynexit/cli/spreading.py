"""Options as dataclasses: a parameter of a command that is one stands for all of its fields.

Not responsible for what options mean: typer reads the fields as it reads parameters.
"""

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the fields of its parameters' dataclasses in the place of these."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}

    @wraps(command)
    def called(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        command(**given)

    shown: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        shown += _options(kind) if is_dataclass(kind) else [parameter.replace(annotation=kind)]
    named = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in shown]
    called.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]  # typer reads it
    called.__annotations__ = {one.name: one.annotation for one in named}
    return called


def _options(kind: Any) -> list[inspect.Parameter]:
    """A dataclass's fields as parameters."""
    hints = get_type_hints(kind, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(f.name, keyword, default=f.default, annotation=hints[f.name])
        for f in fields(kind)
    ]
