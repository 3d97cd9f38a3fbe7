"""Loading a GGUF file: its weights, all of `load`, and peak memory, beside reading the file. Linux.

    python benchmarks/loading.py FILE.gguf

Modules are imported and the file is in the page cache before. Loads after the first reuse memory.
"""

import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from rich.console import Console

import dynexit
from dynexit.model.loading import load_shape
from dynexit.model.native.blocks import load_blocks
from dynexit.model.tokenizer import load_tokenizer

LOADS = 9


def timed(work, loads=LOADS):
    seconds = []
    for _ in range(loads):
        began = perf_counter()
        made = work()
        seconds.append(perf_counter() - began)
        del made
    return seconds


def reading(file):
    """Into memory at hand."""
    buffer = memoryview(bytearray(file.stat().st_size))

    def read():
        with file.open("rb") as opened:
            opened.readinto(buffer)

    return timed(read)


def memory(name):
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def main():
    file = Path(sys.argv[1])
    load_tokenizer(file)  # imports
    read = reading(file)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    whole = timed(lambda: dynexit.load(file, check=False), loads=1)
    peak = (memory("VmHWM") - before) / file.stat().st_size
    whole += timed(lambda: dynexit.load(file, check=False))
    shape = load_shape(file)
    weights = timed(lambda: load_blocks(file, shape, torch.bfloat16))
    tell = Console().print
    for name, seconds in ("reading", read), ("weights", weights), ("load", whole):
        told = f"{1e3 * seconds[0]:.0f} ms, then {1e3 * median(seconds[1:]):.0f} ms"
        tell(f"{name}: {told}, {median(seconds[1:]) / median(read[1:]):.2f}x of reading")
    tell(f"peak memory over that before: {peak:.2f}x of the file")


if __name__ == "__main__":
    main()
