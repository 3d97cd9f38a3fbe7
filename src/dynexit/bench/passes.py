"""Measured seconds of passes of several widths, and their lower bounds by bytes and arithmetic.

Holds results and reads them from a file. Not responsible for measuring (`roofline.py`).
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dynexit.errors import DynexitError, reason
from dynexit.plain import build, parse_json, shown

STEADY = 1.2  # how far apart two looks at an idle machine may be
DERIVED = "floor_ms", "share"  # of a point, in a file


@dataclass(frozen=True)
class Limits:
    """What the machine did, measured beside the model: GB/s of reading and GFLOP/s."""

    memory: float
    own_size: float  # reading as many bytes as the weights have, again and again
    arithmetic: float

    def __str__(self) -> str:
        return (
            f"{self.memory:.1f} GB/s from memory, {self.own_size:.1f} GB/s at the weights' size, "
            f"{self.arithmetic:.0f} GFLOP/s"
        )


@dataclass(frozen=True)
class Point:
    """One shape of a pass: medians in ms, and what it must move and compute."""

    rows: int
    context: int
    layers_ms: float
    head_ms: float
    layer_bytes: int  # of all layers: weights, keys and values
    head_bytes: int
    layer_flops: int
    head_flops: int

    @property
    def total_ms(self) -> float:
        """Layers and head."""
        return self.layers_ms + self.head_ms

    def floor_ms(self, limits: Limits) -> float:
        """What bytes and arithmetic cost at least, whichever is more, layers and head apart."""
        parts = (self.layer_bytes, self.layer_flops), (self.head_bytes, self.head_flops)
        return sum(_floor(*part, limits) for part in parts)


def _floor(moved: int, flops: int, limits: Limits) -> float:
    return max(moved / limits.own_size, flops / limits.arithmetic) / 1e6


@dataclass(frozen=True)
class Roofline:
    """Limits measured before and after, and the points between."""

    model: str
    num_layers: int
    machine: dict[str, Any]
    weight_bytes: int
    cache_bytes: int | None  # of the last-level cache; None where unknown
    before: Limits
    after: Limits
    points: list[Point] = field(default_factory=list)

    @property
    def limits(self) -> Limits:
        """The better of both, so that a share is never flattered."""
        pairs = zip(asdict(self.before).values(), asdict(self.after).values(), strict=True)
        return Limits(*(max(pair) for pair in pairs))

    @property
    def unsteady(self) -> bool:
        """Whether a limit had moved by more than `STEADY` when all was measured."""
        pairs = zip(asdict(self.before).values(), asdict(self.after).values(), strict=True)
        return any(max(pair) > STEADY * min(pair) for pair in pairs)

    @property
    def contexts(self) -> list[int]:
        """Numbers of positions in the cache, rising."""
        return sorted({point.context for point in self.points})

    def at(self, context: int) -> list[Point]:
        """Points of a context, rows rising."""
        own = (point for point in self.points if point.context == context)
        return sorted(own, key=lambda point: point.rows)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        limits = self.limits
        points = [
            {
                **asdict(point),
                "floor_ms": point.floor_ms(limits),
                "share": point.floor_ms(limits) / point.total_ms,
            }
            for point in self.points
        ]
        return {**asdict(self), "points": points}


def read_roofline(file: Path) -> Roofline:
    """What `dynexit roofline --json` wrote into `file`.

    Raises:
        DynexitError: a file that cannot be read, or that holds something else.
    """
    try:
        return _roofline(parse_json(file.read_text(encoding="utf-8"), "it"))
    except OSError as error:
        raise DynexitError(f"cannot read {file}: {reason(error)}.") from error
    except ValueError as error:
        raise DynexitError(
            f"{file} is not what `dynexit roofline --json` prints: {reason(error)}."
        ) from error


def _roofline(found: Any) -> Roofline:
    points = found.get("points") if isinstance(found, dict) else None
    for point in points if isinstance(points, list) else ():
        for name in DERIVED if isinstance(point, dict) else ():
            point.pop(name, None)
    made = build(Roofline, found, "it")
    for part in (made.before, made.after, *made.points):
        for name, value in vars(part).items():
            if not 0 < value < 2**63:
                raise DynexitError(f"{name} is {shown(value)}: it must be above 0, below 2^63.")
    if not made.points:
        raise DynexitError("it has no points.")
    return made
