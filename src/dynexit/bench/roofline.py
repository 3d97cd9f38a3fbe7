"""How close a model's layers come to the machine's limits of bandwidth and arithmetic.

Not responsible for whole texts: it times passes over a filled cache, without a decoding loop.
"""

import mmap
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from dynexit.bench.passes import Limits, Point, Roofline
from dynexit.environment import environment
from dynexit.errors import DynexitError
from dynexit.language_model import LanguageModel
from dynexit.model.interface import Configured, Model, Span
from dynexit.model.weighing import PAGE

LARGE = 2**29  # bytes: larger than any cache
SIDES = 512, 1_024, 2_048  # of the square matrices whose product gives the arithmetic rate
REPEATS, ATTEMPTS = 15, 6  # of a pass, and of each way to reach a limit


@torch.inference_mode()
def measure(
    lm: LanguageModel,
    rows: Sequence[int],
    contexts: Sequence[int],
    progress: Callable[[], None] = lambda: None,
) -> Roofline:
    """Time every number of rows at every context length, between two looks at the machine.

    Raises:
        DynexitError: a shape that the model's context does not hold.
    """
    model = lm.model
    if max(contexts) + max(rows) > model.config.max_positions:
        raise DynexitError(
            f"{max(contexts)} positions and {max(rows)} rows together exceed the model's context "
            f"of {model.config.max_positions}."
        )
    before = _limits(model)
    points = []
    cache = model.new_cache()
    for context in sorted(contexts):
        _reserve(model, cache, context)
        for count in rows:
            points.append(_time(model, cache, context, count))
            progress()
    own, cached = weight_bytes(model), last_level_cache()
    return Roofline(
        lm.name, lm.num_layers, environment(lm.model), own, cached, before, _limits(model), points
    )


def weight_bytes(model: Configured) -> int:
    """Bytes that one token's pass reads of the weights: all layers, and the head."""
    return sum(_weight_bytes(model))


def _weight_bytes(model: Configured) -> tuple[int, int]:
    """Of all layers, and of the head's tokens that may be chosen."""
    config = model.config
    return model.layer_bytes, model.head_bytes * model.vocabulary_size // config.vocab_size


def last_level_cache() -> int | None:
    """Bytes of the processor's largest cache, as far as the system tells."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    return max((int(f.read_text().strip().rstrip("K")) * 1024 for f in sizes), default=None)


def _limits(model: Configured) -> Limits:
    own = min(max(weight_bytes(model), 2**20), LARGE)
    return Limits(_reading(model, LARGE), _reading(model, own), _arithmetic(model))


def _reading(model: Configured, size: int) -> float:
    """GB/s of reading about `size` bytes as the runtime reads weights, in its fastest way."""
    memory = memory_to_read(size // PAGE * PAGE, model.device)
    return memory.nbytes / _seconds(model, model.readers(memory)) / 1e9


def memory_to_read(size: int, device: torch.device) -> Tensor:
    """Numbers to read, of so many bytes; on a CPU on huge pages, as weights are."""
    if device.type != "cpu":
        return torch.ones(size // 4, device=device)
    mapped = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        mapped.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(mapped, dtype=torch.float32).fill_(1.0)  # so that every page is there


def _arithmetic(model: Configured) -> float:
    """GFLOP/s of the best of square products, in what the runtime multiplies in; fp32 counts where
    it is faster.
    """
    dtypes = {torch.float32, model.multiplied}
    return max(_product(model, dtype, side) for dtype in dtypes for side in SIDES)


def _product(model: Model, dtype: torch.dtype, side: int) -> float:
    square = torch.ones(side, side, device=model.device, dtype=dtype)
    multiply = torch._int_mm if dtype == torch.int8 else torch.mm
    return 2 * side**3 / _seconds(model, [lambda: multiply(square, square)]) / 1e9


def _seconds(model: Model, actions: Sequence[Callable[[], object]]) -> float:
    """The quickest of several, each several times: limits are what the machine can do."""
    return min(_timed(model, action) for _ in range(ATTEMPTS) for action in actions)


def _timed(model: Model, action: Callable[[], object]) -> float:
    _wait(model)
    began = perf_counter()
    action()
    _wait(model)
    return perf_counter() - began


def _wait(model: Model) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)


def _reserve(model: Model, cache: Any, context: int) -> None:
    """Make a cache hold `context` positions; what they hold does not change what reading costs."""
    rows = model.rows([Span(cache, context - 1, 1)])
    model.run_layers(model.embed([0]), rows, 0, model.config.num_layers)


def _time(model: Configured, cache: Any, context: int, count: int) -> Point:
    config, hidden = model.config, model.embed(list(range(count)))
    rows = model.rows([Span(cache, context, count)])

    def layers() -> Tensor:
        return model.run_layers(hidden, rows, 0, config.num_layers)

    left = layers()
    pairs = [
        (_timed(model, layers), _timed(model, lambda: model.read(left))) for _ in range(REPEATS)
    ]
    seen = 2 * config.num_layers * config.num_kv_heads * config.head_dim * (context + count)
    matrices = config.num_layers * config.layer_parameters
    attended = 2 * config.num_layers * config.num_heads * config.head_dim * (context + count)
    head = model.vocabulary_size * config.hidden_size
    layer_bytes, head_bytes = _weight_bytes(model)
    return Point(
        rows=count,
        context=context,
        layers_ms=1e3 * median(pair[0] for pair in pairs),
        head_ms=1e3 * median(pair[1] for pair in pairs),
        layer_bytes=layer_bytes + seen * model.dtype.itemsize,
        head_bytes=head_bytes,
        layer_flops=2 * count * (matrices + attended),
        head_flops=2 * count * head,
    )
