"""Plain steps of two models in one process, in turn: what smaller weights are worth.

    python benchmarks/plain_steps.py FIRST SECOND

Passes of one row over 128 to 136 positions, layers and head; 24 pairs of 8 steps, medians.
"""

import sys
import warnings
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import torch
from rich.console import Console

from dynexit import load
from dynexit.bench.roofline import weight_bytes
from dynexit.model.interface import Span

CONTEXT, STEPS, PAIRS = 128, 8, 24


def milliseconds(model: Any, cache: Any) -> float:
    """Of a step."""
    began = perf_counter()
    for position in range(CONTEXT, CONTEXT + STEPS):
        model.verify([5], Span(cache, position, 1), 0, model.config.num_layers)
    return 1e3 * (perf_counter() - began) / STEPS


@torch.inference_mode()
def main() -> None:
    """Load, time, print."""
    warnings.simplefilter("ignore")  # of exits that are of no use here
    models: list[Any] = [load(name, check=False).model for name in sys.argv[1:3]]
    caches = [model.new_cache() for model in models]
    for model, cache in zip(models, caches, strict=True):
        model.verify(list(range(CONTEXT)), Span(cache, 0, CONTEXT), 0, model.config.num_layers)
        milliseconds(model, cache)
    both = list(zip(models, caches, strict=True))
    pairs = [[milliseconds(*one) for one in both] for _ in range(PAIRS)]

    console = Console()
    for number, model in enumerate(models):
        took, size = median(pair[number] for pair in pairs), weight_bytes(model) / 1e6
        console.print(f"{model.runtime_name}: {took:.2f} ms, {size:.0f} MB, {size / took:.1f} GB/s")
    low, middle, high = quantiles(second / first for first, second in pairs)
    console.print(f"second against first: {middle:.2f}x, quartiles {low:.2f} to {high:.2f}")


if __name__ == "__main__":
    main()
