"""Searches beforehand for the sublayers that drafts leave out: those with which a model writes the
most tokens per second on some prompts.

Source: Bayesian optimisation over a switch for each sublayer (Draft & Verify, arXiv 2309.08168,
section 3.4).
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dynexit.decoding.controllers.bayesian import propose
from dynexit.decoding.controllers.skipping import method_of, spread
from dynexit.errors import DynexitError
from dynexit.language_model import LanguageModel
from dynexit.model.files import make_folder, replacing
from dynexit.model.fingerprint import weights_fingerprint
from dynexit.model.skips import Skips

SHARES = 0.1, 0.2, 0.3, 0.45  # of the first sets, which are evenly spread
RANDOM = 4  # sets after them; all others are proposed by what is known

Speeds = list[tuple[Skips, float]]


@dataclass(frozen=True)
class Found:
    """The sets that were tried, each with its tokens per second, and plain decoding's."""

    tried: Speeds
    plain: float

    @property
    def best(self) -> tuple[Skips, float]:
        """The fastest set and its tokens per second."""
        return max(self.tried, key=lambda one: one[1])

    @property
    def method(self) -> str:
        """The method with the fastest set."""
        return method_of(self.best[0])


def search(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    steps: int,
    max_new_tokens: int,
    watch: Callable[[], None] = lambda: None,
) -> Found:
    """Try so many sets, each on all prompts.

    Args:
        prompts: token ids.
        watch: is called after each set.

    Raises:
        DynexitError: the model's layers cannot be taken apart, or no prompt gives a text to time.
    """
    draw, depth = random.Random(0), lm.num_layers
    every = range(2 * depth)
    first = [one for share in SHARES if (one := spread(depth, share)).sublayers]
    plain, tried = _speed(lm, prompts, "vanilla", max_new_tokens), Speeds()
    for step in range(steps):
        if step < len(first):
            skips = first[step]
        elif step < len(first) + RANDOM:
            skips = Skips.of(depth, draw.sample(every, draw.randint(1, depth)))
        else:
            skips = propose(tried, every, draw, any_size=True)
        if skips.sublayers:
            tried.append((skips, _speed(lm, prompts, method_of(skips), max_new_tokens)))
        watch()
    return Found(tried, plain)


def _speed(
    lm: LanguageModel, prompts: Sequence[Sequence[int]], method: str, max_new_tokens: int
) -> float:
    """Tokens per second of a method's decoding, all prompts together."""
    stats = [lm.generate(one, method, max_new_tokens=max_new_tokens).stats for one in prompts]
    seconds = sum(one.decode_seconds for one in stats)
    if not seconds:
        raise DynexitError("no prompt gives a text of two tokens or more: give other prompts.")
    return sum(one.tokens for one in stats) / seconds


def keep(found: Found, lm: LanguageModel, file: Path) -> None:
    """Write the result and all that was tried.

    Raises:
        DynexitError: the file cannot be written.
    """
    told = {
        "model": lm.name,
        "fingerprint": weights_fingerprint(lm.folder) if lm.folder else None,
        "layers": lm.num_layers,
        "left_out": found.best[0].sublayers,
        "method": found.method,
        "tokens_per_second": found.best[1],
        "plain_tokens_per_second": found.plain,
        "tried": [{"method": method_of(s), "tokens_per_second": v} for s, v in found.tried],
    }
    make_folder(file.parent)
    with replacing(file) as partial:
        partial.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
