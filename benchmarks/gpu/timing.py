"""Seconds until a call returns, and until the device has done what it asked for."""

from collections.abc import Callable, Mapping
from statistics import median
from time import monotonic, perf_counter

import torch

from gpu.part import Part

Action = Callable[[], object]
WARM_UPS, TURNS, EACH = 3, 4, 8
READ = 3 * 2**30  # bytes: many times a card's cache, and fewer numbers than 2**31


def timed(part: Part, actions: Mapping[str, Action], most: float) -> dict[str, dict[str, float]]:
    """Medians in milliseconds. The actions take turns, for `most` seconds at most.

    `launch_ms`: until the call returned; `done_ms`: until the device was idle.
    """
    for action in actions.values():
        for _ in range(WARM_UPS):
            action()
        part.wait()
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in actions}
    ends = monotonic() + min(most, part.left)
    for turn in range(TURNS):
        if turn and monotonic() > ends:
            break
        for name, action in actions.items():
            pairs[name] += [_once(part, action) for _ in range(EACH)]
    return {name: _medians(found) for name, found in pairs.items()}


def _once(part: Part, action: Action) -> tuple[float, float]:
    began = perf_counter()
    action()
    launched = perf_counter() - began
    part.wait()
    return launched, perf_counter() - began


def _medians(pairs: list[tuple[float, float]]) -> dict[str, float]:
    launched, done = ([1e3 * value for value in column] for column in zip(*pairs, strict=True))
    least, most = min(done), max(done)
    return {"launch_ms": median(launched), "done_ms": median(done), "min": least, "max": most}


def bandwidth(part: Part) -> dict[str, float]:
    """GB/s of the card's memory, by several ways to read a lot of it; a copy reads and writes."""
    numbers = torch.ones((2**24 if part.rehearse else READ) // 2, dtype=torch.bfloat16,
                         device=part.device)  # fmt: skip
    copied = torch.empty_like(numbers)
    matrix = numbers.view(-1, 4096)
    vector = torch.ones(4096, dtype=numbers.dtype, device=part.device)
    ways = {
        "sum": (numbers.sum, 1),
        "amax": (numbers.amax, 1),
        "matrix times vector": (lambda: matrix @ vector, 1),
        "copy": (lambda: copied.copy_(numbers), 2),
    }
    took = timed(part, {name: action for name, (action, _) in ways.items()}, 3.0)
    size = numbers.nbytes
    return {name: ways[name][1] * size / one["min"] / 1e6 for name, one in took.items()}
