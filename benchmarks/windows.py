"""Windowed drafts on long contexts: milliseconds of passes, and what acceptance rates they need.

    python benchmarks/windows.py MODEL [CONTEXTS] [BATCHES] [SINKS,RECENT] [LENGTHS]

Such as `python benchmarks/windows.py 1b.gguf 2048,8192,32768 1,4,16 4,256 1,4`. No prompt is read:
caches are filled with copies of one block of 32 positions, since a pass takes as long whatever is
in them. A batch that does not fit into the memory is left out and said so. Printed for each
context, batch and length: a plain step, a drafted token and the verification of LENGTH + 1 rows of
each text; and the speed over plain decoding at acceptance rates of 0.7, 0.8, 0.9 and 1.
"""

import sys
from statistics import median
from time import perf_counter

import psutil
import torch

import dynexit
from dynexit.model.interface import BLOCK, Span
from dynexit.model.windows import Window

RATES = 0.7, 0.8, 0.9, 1.0
SPARE = 2e9  # bytes that are left alone


@torch.inference_mode()
def filled(model, context: int):
    """A cache of so many positions."""
    first = model.new_cache()
    tokens = [(37 * i) % model.vocabulary_size for i in range(BLOCK)]
    span = Span(first, 0, BLOCK)
    model.run_layers(model.embed(tokens), model.rows([span]), 0, model.config.num_layers)
    cache = model.new_cache()
    cache.restore([first.save(0)] * (context // BLOCK))
    cache.length = context
    return cache


@torch.inference_mode()
def timed(model, caches, rows: int, window: Window | None, drafts: bool, times: int) -> float:
    """Milliseconds of a pass with the head."""
    limit = model.draft_tokens.usual(model.vocabulary_size) if drafts else None
    hidden = model.embed([5] * rows * len(caches))
    taken = []
    for _ in range(times):
        began = perf_counter()
        spans = [Span(cache, cache.length - rows, rows, window=window) for cache in caches]
        left = model.run_layers(hidden, model.rows(spans), 0, model.config.num_layers)
        model.read(left, limit)
        taken.append(1e3 * (perf_counter() - began))
    return median(taken[1:])


def main(
    name: str,
    contexts: str = "2048,8192,32768",
    batches: str = "1,4,16",
    window: str = "4,256",
    lengths: str = "4",
    times: str = "4",
) -> None:
    model, seen = dynexit.load(name, check=False).model, Window(*map(int, window.split(",")))
    for context in map(int, contexts.split(",")):
        caches = []
        for batch in map(int, batches.split(",")):
            size = model.new_cache().block_bytes * (context // BLOCK + 8)
            if (batch - len(caches)) * size > psutil.virtual_memory().available - SPARE:
                held = f"{batch * size / 1e9:.1f} GB of caches do not fit"
                sys.stdout.write(f"{context} positions, {batch} texts: {held}\n")
                break
            caches += [filled(model, context) for _ in range(batch - len(caches))]
            plain = timed(model, caches, 1, None, False, int(times))
            draft = timed(model, caches, 1, seen, True, int(times))
            for length in map(int, lengths.split(",")):
                verify = timed(model, caches, length + 1, None, False, int(times))
                spent = length * draft + verify
                tokens = {rate: sum(rate**i for i in range(length + 1)) for rate in RATES}
                gains = (f"{plain * n / spent:.2f}x at {rate}" for rate, n in tokens.items())
                sys.stdout.write(
                    f"{context} positions, {batch} texts: plain {plain:.1f} ms, draft {draft:.1f}, "
                    f"verify {length + 1} rows {verify:.1f}: {', '.join(gains)}\n"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
