"""Passes of one and more rows over a quantised model, beside reading as many bytes.

    python benchmarks/quantised_rows.py FILE.gguf [--isa ISA] [--rows 1,2,4,6,8,12,16] [--turns N]

Layers and head apart, 128 positions in the cache. All numbers of rows and the reading take turns,
so that each meets the machine in the same states; medians, in milliseconds. `--isa` is any that
this machine has, the fastest by default.
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from rich.console import Console
from rich.table import Table

from dynexit.bench.roofline import memory_to_read
from dynexit.model.interface import Span
from dynexit.model.loading import load_shape
from dynexit.model.native.binding import runtimes
from dynexit.model.native.blocks import load_blocks
from dynexit.model.native.transformer import NativeTransformer

CONTEXT = 128
PAGE = 4096


def actions(model: NativeTransformer, counts: list[int]) -> dict[tuple[str, int], Callable]:
    """What is timed: for each number of rows the layers and the head, and what both read."""
    cache, layers = model.new_cache(), model.config.num_layers
    width = model.config.hidden_size
    full = model.rows([Span(cache, 0, CONTEXT)])
    model.run_layers(torch.randn(CONTEXT, width), full, 0, layers)
    found: dict[tuple[str, int], Callable] = {}
    for count in counts:
        hidden, rows = torch.randn(count, width), model.rows([Span(cache, CONTEXT, count)])
        found["layers", count] = lambda h=hidden, r=rows: model.run_layers(h, r, 0, layers)
        found["head", count] = lambda h=hidden: model.read(h)
    for part, size in (("layers", model.layer_bytes), ("head", model.head_bytes)):
        memory = memory_to_read(size // PAGE * PAGE, model.device)
        for number, reader in enumerate(model.readers(memory)):
            found[part + " read", number] = reader
    return found


def timed(found: dict[tuple[str, int], Callable], turns: int) -> dict[tuple[str, int], float]:
    """Median milliseconds of each, in turn."""
    times: dict[tuple[str, int], list[float]] = {name: [] for name in found}
    order = random.Random(0)
    for turn in range(turns + 1):
        for name, act in order.sample(list(found.items()), len(found)):
            began = perf_counter()
            act()
            if turn:
                times[name].append(1e3 * (perf_counter() - began))
    return {name: median(each) for name, each in times.items()}


def report(model: NativeTransformer, counts: list[int], took: dict[tuple[str, int], float]) -> None:
    """A table: rows down, layers and head across."""
    table = Table(title=f"{model.runtime_name}, {model.threads} threads")
    for title in ("rows", "layers, ms", "against one", "of reading", "head, ms", "against one"):
        table.add_column(title, justify="right")
    read = {
        part: min(t for (name, _), t in took.items() if name == part + " read")
        for part in ("layers", "head")
    }
    for count in counts:
        layers, head = took["layers", count], took["head", count]
        one, one_head = took["layers", counts[0]], took["head", counts[0]]
        table.add_row(
            *(str(count), f"{layers:.2f}", f"{layers / one:.2f}", f"{read['layers'] / layers:.0%}"),
            *(f"{head:.2f}", f"{head / one_head:.2f}"),
        )
    table.caption = "; ".join(
        f"reading the {part}'s {size / 1e6:.0f} MB: {read[part]:.2f} ms, "
        f"{size / 1e6 / read[part]:.1f} GB/s"
        for part, size in (("layers", model.layer_bytes), ("head", model.head_bytes))
    )
    Console(width=100).print(table)


def main() -> None:
    """Load, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--isa", choices=sorted(runtimes()))
    parser.add_argument("--rows", default="1,2,4,6,8,12,16")
    parser.add_argument("--turns", type=int, default=25)
    given = parser.parse_args()
    counts = [int(count) for count in given.rows.split(",")]
    model = load_blocks(given.file, load_shape(given.file), torch.bfloat16, given.isa)
    with torch.inference_mode():
        report(model, counts, timed(actions(model, counts), given.turns))


if __name__ == "__main__":
    main()
