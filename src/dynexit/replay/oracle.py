"""The least time of a trace with perfect choices, over all ways to split its text into fully
accepted rounds.

Every round costs only what its accepted tokens cost; no draft is rejected. This is a bound for any
controller of these drafters, not a method.
"""

from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from dynexit.decoding.costs import Costs
from dynexit.decoding.suffixes import Suffixes
from dynexit.replay.trace import Trace, TracedText

LONGEST_DRAFT, LONGEST_LOOKUP = 12, 24
CHOICES = 3  # children of a token, of which the right one is drafted alone


def oracle(trace: Trace, costs: Costs) -> dict[str, float]:
    """Speedup over plain decoding, by "exits TASK" and "both TASK" (with lookup), and "... all"."""
    seconds: dict[str, float] = {}
    for text in trace.texts:
        rounds = _Rounds(trace, text, costs)
        parts = {"plain": rounds.plain}
        parts |= {"exits": rounds.least(lookup=False), "both": rounds.least(lookup=True)}
        for name, value in parts.items():
            for task in (text.task, "all"):
                seconds[f"{name} {task}"] = seconds.get(f"{name} {task}", 0.0) + value
    return {
        name: seconds["plain " + name.split(" ", 1)[1]] / value
        for name, value in seconds.items()
        if not name.startswith("plain ") and value
    }


class _Rounds:
    """Costs of a text's possible rounds. `count` tokens follow the one that the prefill chose."""

    def __init__(self, trace: Trace, text: TracedText, costs: Costs) -> None:
        depth = trace.info.num_layers
        first = text.prompt_length - text.first
        trimmed = text.trimmed[: depth // 2, first:, :CHOICES]
        self.count = text.generated - 1
        right = np.any(trimmed == text.best[-1, first:, :1], axis=-1)
        self.runs = _runs(right[:, : self.count])
        self.found = _found(text)
        vocabulary, layers = trace.info.draft_vocabulary, range(1, len(self.runs) + 1)
        seconds = cache(partial(_seconds, depth=depth, layers=layers, vocabulary=vocabulary))
        tables = [costs.at(text.prompt_length + at + 1) for at in range(self.count)]
        self.seconds = [seconds(table) for table in tables]  # of a round at each token
        self.plain = sum(looked[0] for looked, _ in self.seconds)

    def least(self, lookup: bool) -> float:
        """Seconds of the best rounds."""
        rest = [0.0] * (self.count + LONGEST_LOOKUP + 2)
        for at in range(self.count - 1, -1, -1):
            looked, drafted = self.seconds[at]
            choices = [looked[0] + rest[at + 1]]
            for cost, run in zip(drafted, self.runs[:, at], strict=True):
                longest = min(int(run), LONGEST_DRAFT)
                choices += [cost[n] + rest[at + n + 1] for n in range(1, longest + 1)]
            if lookup:
                longest = min(self.found[at], LONGEST_LOOKUP)
                choices += [looked[n] + rest[at + n + 1] for n in range(1, longest + 1)]
            rest[at] = min(choices)
        return rest[0]


def _seconds(
    costs: Costs, depth: int, layers: range, vocabulary: int | None
) -> tuple[list[float], list[list[float]]]:
    """Of rounds of 0, 1, 2, ... accepted tokens that were looked up, and of those that each of some
    layers has drafted.
    """
    token = costs.unembed(1, vocabulary)
    drafted = []
    for layer in layers:
        verify, start, each = (
            costs.verify(depth - layer),
            costs.draft_start(layer),
            costs.draft(layer),
        )
        lengths = range(LONGEST_DRAFT + 1)
        drafted.append([start + (n + 1) * each + n * token + verify[n + 1] for n in lengths])
    return costs.verify(depth)[1 : LONGEST_LOOKUP + 2], drafted


def _runs(agreement: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[L, n] -> how many positions from each on agree without a break."""
    runs = np.zeros((agreement.shape[0], agreement.shape[1] + 1), np.int64)
    for at in range(agreement.shape[1] - 1, -1, -1):
        runs[:, at] = (runs[:, at + 1] + 1) * agreement[:, at]
    return runs[:, :-1]


def _found(text: TracedText) -> list[int]:
    """How many tokens lookup would have found right after each position."""
    whole: list[int] = text.tokens.tolist()
    known = whole[: text.prompt_length + 1]
    suffixes, found = Suffixes(known), []
    for at in range(text.prompt_length + 1, len(whole)):
        place, match = suffixes.find()
        offered = suffixes.after(place, LONGEST_LOOKUP) if match else []
        same = [a == b for a, b in zip(offered, whole[at:], strict=False)]
        found.append(same.index(False) if False in same else len(same))
        known.append(whole[at])
    return found
