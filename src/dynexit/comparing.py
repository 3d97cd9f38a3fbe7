"""Speedups over plain decoding: one statistic for `--compare`, the demo and the page.

A method's speed is the median of its runs, in tokens per second of decoding, without prefill. Its
speedup is that number divided by plain decoding's: the two shown speeds give the shown speedup.
(The page does the same in JavaScript, with the server's numbers for each run.)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import floor, log10
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynexit.decoding.controllers.base import Controller
    from dynexit.language_model import Generation, LanguageModel, Prompt

PLAIN = "vanilla"
REPEATS = 3
WARM_UP_TOKENS = 16
DIGITS = 4  # of a speed, as many as are shown

Turns = Callable[[Sequence[str]], Iterable[str]]


def run_in_turn(
    lm: "LanguageModel",
    prompt: "Prompt",
    methods: "Mapping[str, str | Controller]",
    turns: Turns = iter,
    *,
    max_new_tokens: int,
    **options: Any,
) -> "dict[str, list[Generation]]":
    """Every method's `REPEATS` generations: A B A B A B, after a warm-up of each.

    Args:
        turns: goes through the names of the turns, and may show how far it is.
        options: as `LanguageModel.generate` takes them.
    """
    few = min(WARM_UP_TOKENS, max_new_tokens)
    for method in methods.values():
        lm.generate(prompt, method, max_new_tokens=few, **options)
    outputs: dict[str, list[Generation]] = {name: [] for name in methods}
    for name in turns([*methods] * REPEATS):
        method = methods[name]
        outputs[name].append(lm.generate(prompt, method, max_new_tokens=max_new_tokens, **options))
    return outputs


def median_speed(runs: "Sequence[Generation]") -> float:
    """Tokens per second of decoding, the median of some runs; 0 where nothing was decoded."""
    return rounded_speed(median(run.stats.tokens_per_second for run in runs))


def rounded_speed(speed: float) -> float:
    """A speed as it is shown."""
    return round(speed, _decimals(speed)) if speed else 0.0


def shown_speed(speed: float) -> str:
    """A speed for people."""
    return f"{speed:.{max(_decimals(speed), 0)}f}" if speed else "-"


def shown_speedup(ratio: float | None) -> str:
    """A speedup for people."""
    return "-" if ratio is None else f"{ratio:.2f}x"


def _decimals(speed: float) -> int:
    return DIGITS - 1 - floor(log10(speed))
