"""What it would be worth if `auto` began with each exit's acceptance rates from other texts.

    python benchmarks/calibration.py TRAINING_TRACE TRACE [--learned DIR] [--cost FILE]

Both traces are of one model with the same `--draft-vocabulary` (`dynexit trace`). The first one
gives, for every exit layer and tenth of confidence, how often the exit is right. `auto` replays the
second one with the same acceptance rates for all layers (as it is), and with these.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np

import dynexit
from dynexit.decoding.controllers import estimates
from dynexit.decoding.controllers.estimates import CONFIDENT, WEIGHT, ExitEstimates
from dynexit.decoding.costs import Costs
from dynexit.learning.learned import read_learned
from dynexit.methods import make_controller
from dynexit.replay.running import Replaying, replay
from dynexit.replay.trace import load_trace

FEW = 2.0  # positions that the rates for all layers count for


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("training", type=Path)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--learned", type=Path)
    parser.add_argument("--cost", type=Path)
    given = parser.parse_args()
    trace, rates = load_trace(given.trace), rates_of(load_trace(given.training))
    costs = dynexit.load("bundled").costs
    if given.cost:
        costs = Costs.from_dict(json.loads(given.cost.read_text()))
    table = given.learned and read_learned(given.learned, trace.info.vocab_size).table
    for method in ("auto", "auto:lookup=false,table=false"):
        known = table if method == "auto" else None
        for name, kind in (("as it is", ExitEstimates), ("calibrated", calibrated(rates))):
            estimates.ExitEstimates = kind
            report(f"{method}, {name}", Replaying(trace, costs, known), method)


def rates_of(trace):
    """[L - 1, 10]: how often each exit is right, by tenths of its confidence."""
    seen = np.zeros((trace.info.num_layers - 1, 10))
    right = np.zeros_like(seen)
    for text in trace.texts:
        start = text.prompt_length - 1 - text.first
        chosen = text.trimmed[:-1, start:, 0]
        matched = chosen == text.best[-1, start:, 0]
        parts = estimates.sample_tenths(text.trimmed_confidence[:-1, start:, 0])
        for layer, (part, match) in enumerate(zip(parts, matched, strict=True)):
            seen[layer] += np.bincount(part, minlength=10)
            right[layer] += np.bincount(part, weights=match, minlength=10)
    return (right + FEW * np.array(CONFIDENT)) / (seen + FEW)


def calibrated(rates):
    """`ExitEstimates` that begins with these rates."""

    class Calibrated(ExitEstimates):
        def _begin_with(self, sample):
            super()._begin_with(sample)
            parts = estimates.sample_tenths(sample.confidence)
            for layer, tenths in zip(sample.layers, parts, strict=True):
                if layer in self._expected:
                    hoped = rates[layer - 1][tenths].sum()
                    self._expected[layer] = estimates.ELSEWHERE * float(hoped)

        def observe(self, layer, confidences, matched):
            before = self._expected[layer]
            super().observe(layer, confidences, matched)
            hoped = sum(rates[layer - 1][estimates.tenth(one)] for one in confidences)
            self._expected[layer] = before + float(hoped)

        def odds(self, layer):
            weight = WEIGHT * self.trust(layer)
            told = zip(self._hits[layer], self._seen[layer], rates[layer - 1], strict=True)
            return tuple((hits + weight * rate) / (seen + WEIGHT) for hits, seen, rate in told)

    return Calibrated


def report(name, given, method):
    """Prints speed against plain decoding, over all texts and by task."""
    controller, tokens, seconds = make_controller(method), Counter(), Counter()
    for text in given.trace.texts:
        stats = replay(given, text, controller)
        for task in ("all", text.task):
            tokens[task] += stats.tokens
            seconds[task] += stats.decode_seconds
    step = given.costs.verify(given.trace.info.num_layers)[1]
    speeds = (f"{task} {tokens[task] * step / seconds[task]:.3f}x" for task in tokens)
    sys.stdout.write(f"{name}: {', '.join(speeds)}\n")


if __name__ == "__main__":
    main()
