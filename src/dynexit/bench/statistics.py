"""Checks `Statistics.as_dict` in a record, as far as tables use it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from dynexit.errors import DynexitError
from dynexit.plain import build

MOST = 2**31 - 1  # of any number


@dataclass(frozen=True)
class Told:
    """Numbers of a whole text."""

    num_layers: int
    tokens: int
    prefill_seconds: float
    decode_seconds: float
    tokens_per_second: float


@dataclass(frozen=True)
class Columns:
    """Numbers of its rounds: lists of one length."""

    drafter: list[str | None]
    exit_layer: list[int | None]
    threshold: list[float | None]
    drafted: list[int]
    accepted: list[int]
    tokens: list[int]
    draft_seconds: list[float]
    verify_seconds: list[float]
    control_seconds: list[float]
    text_seconds: list[float]


def check_statistics(stats: Mapping[str, Any]) -> None:
    """Raises DynexitError where a number that tables are made of is of another kind."""
    told = build(Told, _known(Told, stats), "stats")
    rounds = stats.get("round_records")
    if not isinstance(rounds, dict):
        raise DynexitError("stats lacks 'round_records'.")
    columns = build(Columns, _known(Columns, rounds), "stats.round_records")
    if len({len(column) for column in vars(columns).values()}) > 1:
        raise DynexitError("the lists of stats.round_records differ in length.")
    numbers = [told.tokens, told.prefill_seconds, told.decode_seconds, told.tokens_per_second]
    if not 1 <= told.num_layers <= MOST or not 0 <= min(numbers) <= max(numbers) <= MOST:
        raise DynexitError("stats has a number out of range.")
    if told.tokens and not told.decode_seconds:
        raise DynexitError("stats has tokens but no decode time.")
    _check_rounds(columns, told.num_layers)


def _check_rounds(columns: Columns, num_layers: int) -> None:
    layers = [layer for layer in columns.exit_layer if layer is not None]
    if layers and not 0 <= min(layers) <= max(layers) <= num_layers:
        raise DynexitError(f"stats.round_records has an exit layer beyond {num_layers}.")
    for name in ("drafted", "accepted", "tokens"):
        values = getattr(columns, name)
        if values and not 0 <= min(values) <= max(values) <= MOST:
            raise DynexitError(f"stats.round_records.{name} has a number out of range.")


def _known(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that are looked at."""
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in values.items() if name in names}
