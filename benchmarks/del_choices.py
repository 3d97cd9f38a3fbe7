"""How often DEL on a budget chooses the exit that full analysis would: by replay of a trace.

    dynexit trace --task gsm8k --num-samples 40 --out t.safetensors
    dynexit replay t.safetensors --save-cost cost.json
    python benchmarks/del_choices.py t.safetensors cost.json [--half 0]

Full analysis sits beside it in the same rounds and is shown everything. A choice counts as the same
where the exit is, and as good where full analysis itself promises at least 98 % as much of it.
`--half` takes every second text of each task, so that what was tuned on one half is judged by the
other.
"""

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.controllers.del_ import Del
from dynexit.decoding.costs import Costs
from dynexit.decoding.facts import Facts
from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Round, ShadowTokens
from dynexit.methods import make_controller
from dynexit.replay.running import Replaying, replay, replay_all
from dynexit.replay.trace import Trace, load_trace

METHODS = (
    "del",
    "del:cost=layers",
    "del:cap=threshold",
    "del-e",
    "del-e:cost=layers",
    "del-e-lim",
    "del-d",
)
AS_GOOD = 0.98
COUNTED = "same", "as good", "lost", "analysed"


class Beside(Controller):
    """Decodes as one controller plans, and asks another what it would have chosen."""

    reads_shadow = True

    def __init__(self, subject: Del, full: Del, draft_vocabulary: int) -> None:
        self.subject, self.full, self.told = subject, full, Counter()
        self.prompt_positions = full.prompt_positions
        self.draft_vocabulary = draft_vocabulary

    def start(self, facts: Facts) -> None:
        super().start(facts)
        self.subject.start(facts)
        self.full.start(facts)

    def observe_prompt(self, shadow: ShadowTokens) -> None:
        self.full.observe_prompt(shadow)
        self.subject.observe_prompt(_of(shadow, self.subject.shadow_layers))

    def plan(self) -> Plan:
        self.asked, theirs = self.subject.plan(), self.full.plan().exit_layer
        promises = self.full.promises(self.full.acceptance_rates()).max(1)
        if promises.any():
            mine = self.asked.exit_layer
            share = promises[mine - 1] / promises[theirs - 1]
            self.told["rounds"] += 1
            self.told["same"] += mine == theirs
            self.told["as good"] += mine == theirs or share >= AS_GOOD
            self.told["lost"] += 1 - share
        self.told["analysed"] += bool(self.asked.shadow)
        return replace(self.asked, shadow=None)

    def observe(self, finished: Round) -> None:
        self.full.observe(finished)
        shadow = _of(finished.shadow, self.asked.shadow) if self.asked.shadow else None
        self.subject.observe(replace(finished, plan=self.asked, shadow=shadow))


def _of(shadow: ShadowTokens, layers: tuple[int, ...]) -> ShadowTokens:
    rows = np.array(layers) - 1
    return ShadowTokens(shadow.matched[rows], shadow.confidence[rows], layers)


def judged(trace: Trace, method: str, costs: Costs) -> Counter:
    """What became of the choices of a method on a budget, over all texts."""
    subject = make_controller(method)
    assert isinstance(subject, Del)
    cost = "measured" if subject.cost is None else subject.cost
    full = Del("full", cost, omega=subject.omega, d_max=subject.d_max, min_layer=subject.min_layer)
    beside = Beside(subject, full, trace.info.draft_vocabulary)
    for text in trace.texts:
        replay(Replaying(trace, costs, None), text, beside)
    return beside.told


def half_of(trace: Trace, half: int | None) -> Trace:
    """Every second text of each task, from number `half`; or all."""
    if half is None:
        return trace
    places: Counter = Counter()
    kept = []
    for text in trace.texts:
        kept += [text] if places[text.task] % 2 == half else []
        places[text.task] += 1
    return Trace(trace.info, kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("trace", type=Path)
    parser.add_argument("costs", type=Path)
    parser.add_argument("--half", type=int, choices=(0, 1))
    parser.add_argument("--method", action="append")
    given = parser.parse_args()
    trace = half_of(load_trace(given.trace), given.half)
    costs = Costs.from_dict(json.loads(given.costs.read_text()))
    plain = replay_all(Replaying(trace, costs, None), "vanilla")
    table = Table("method", "all", *plain.by_task, *COUNTED)
    table.title = f"speed over plain decoding of {len(trace.texts)} texts, and shares of rounds"
    for method in given.method or METHODS:
        played, told = (
            replay_all(Replaying(trace, costs, None), method),
            judged(trace, method, costs),
        )
        speeds = [played.by_task[task] / plain.by_task[task] for task in plain.by_task]
        speeds.insert(0, played.tokens_per_second / plain.tokens_per_second)
        shares = [told[name] / max(told["rounds"], 1) for name in COUNTED]
        table.add_row(method, *(f"{s:.2f}x" for s in speeds), *(f"{s:.3f}" for s in shares))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
