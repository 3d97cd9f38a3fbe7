"""Times a model's passes for the table of costs: a second or two, no text needed."""

from collections.abc import Callable
from functools import partial
from itertools import accumulate, cycle, product
from statistics import median
from time import perf_counter
from typing import Any

import torch

from dynexit.costs.table import ROUGH, Costs
from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.loop import finish
from dynexit.decoding.sampling import Sampling
from dynexit.decoding.sequence import Limits, Sequence
from dynexit.decoding.text import NoText
from dynexit.model.drafting import DraftingRule, drafts_alone
from dynexit.model.interface import Model, Span
from dynexit.model.verifying import verifies_alone

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16)
CONTEXT, FAR = 256, 1_024  # positions in the cache, near and far
FEW = 64  # tokens of the head: next to none
DRAFTS = 1, 5  # tokens of a short draft and of a long one
PASS = 0.02  # seconds that one timing may take: of a larger model, some layers stand for all
REPEATS, BUDGET = 21, 1.5  # at most so often, and no more once so many seconds are over
LEAST_ON_CUDA = 3  # where the first time, passes are recorded and kernels chosen


@torch.inference_mode()
def measure_costs(model: Model) -> Costs:
    """Time verifications and drafts of `model`, in turn, as in rounds; the median of each counts.

    A context too short for that has the rough costs.
    """
    if model.config.max_positions < 2 * WIDTHS[-1]:
        return ROUGH
    bench = _Bench(model)
    least = LEAST_ON_CUDA if model.device.type == "cuda" else 1
    began = perf_counter()
    for done in range(1, REPEATS + 1):
        bench.measure()
        if done >= least and perf_counter() - began > BUDGET:
            break
    return bench.costs()


class _Bench:
    """The timings so far, by what was timed."""

    def __init__(self, model: Model) -> None:
        config = model.config
        self.model, self.cache, self.depth = model, model.new_cache(), config.num_layers
        self.copy: Any = getattr(model, "draft_copy", None)
        self.exits = max(1, self.depth // 5), max(1, self.depth // 2)
        last = config.max_positions - WIDTHS[-1] - 1
        self.near, self.far = min(CONTEXT, last), min(FAR, last)
        self.seconds: dict[str, list[float]] = {}
        self.layers = 1
        for _ in range(2):  # the first is not quick
            self._verify("one layer", 1)
        quickest = max(min(self.seconds["one layer"]), 1e-6)
        self.layers = max(1, min(self.depth, int(PASS / quickest)))

    def measure(self) -> None:
        """Every timing once."""
        drafts = cycle(product(self.exits, DRAFTS))
        for width, draft in zip(WIDTHS, drafts, strict=False):
            self._verify(f"head {width}", width, layers=0)
            hidden = self.model.embed([0] * width)
            self._time(f"call {width}", partial(self.model.read, hidden, FEW))
            self._verify(f"whole {width}", width)  # after which a draft begins, as in a round
            self._draft("draft", self.model, *draft)
        self._verify("far", 1, position=self.far)
        if self.copy is not None:
            for length in DRAFTS:
                self._verify("whole 1", 1)
                self._draft("copied draft", self.copy, self.exits[0], length)
            self._time("copied head", lambda: self.copy.read(self.model.embed([0])))
        self._plain_rounds()

    def _verify(
        self, name: str, width: int, layers: int | None = None, position: int | None = None
    ) -> None:
        """The last layers and the head, for so many rows."""
        model, begin = self.model, self.depth - (self.layers if layers is None else layers)
        tokens = [row % model.choosable for row in range(width)]
        span = Span(self.cache, self.near if position is None else position, width)

        def verify() -> None:
            if verifies_alone(model):
                model.verify(tokens, span, begin, self.depth)
                return
            rows, hidden = model.rows([span]), model.embed(tokens)
            model.read(model.run_layers(hidden, rows, begin, self.depth))

        self._time(name, verify)

    def _draft(self, name: str, model: Model, exit_layer: int, length: int) -> None:
        """A draft of so many tokens, next to no head."""

        def draft() -> None:
            if drafts_alone(model):
                rule = DraftingRule(exit_layer, length, limit=FEW)
                model.draft(self.cache, self.near, 0, rule, False)
                return
            for place in range(self.near, self.near + length + 1):
                rows = model.rows([Span(self.cache, place, 1)])
                hidden = model.run_layers(model.embed([0]), rows, 0, exit_layer)
                if place < self.near + length:
                    model.read(hidden, FEW)

        self._time(f"{name} {exit_layer} {length}", draft)

    def _plain_rounds(self) -> None:
        """Some rounds of plain decoding, whatever they write."""
        limits = Limits(DRAFTS[-1], self.model.config.max_positions)
        sequence = Sequence(self.model, [0], Controller(), Sampling(), limits, NoText())
        finish(sequence)
        took = sequence.stats.decode_seconds / len(sequence.stats.rounds)
        self.seconds.setdefault("rounds", []).append(took)

    def _time(self, name: str, action: Callable[[], object]) -> None:
        began = perf_counter()
        action()
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
        self.seconds.setdefault(name, []).append(perf_counter() - began)

    def costs(self) -> Costs:
        """The table. More rows are never cheaper."""
        took = {name: median(values) for name, values in self.seconds.items()}
        head = list(accumulate((took[f"head {width}"] for width in WIDTHS), max))
        whole = list(accumulate((took[f"whole {width}"] for width in WIDTHS), max))
        call = [min(took[f"call {w}"], most) for w, most in zip(WIDTHS, head, strict=True)]
        layer = [max(w - h, 0.0) / self.layers for w, h in zip(whole, head, strict=True)]
        distance = max(self.far - self.near, 1)
        few, many = self.exits
        here, there = (self._per_layer(took, "draft", layer, call[0]) for layer in self.exits)
        deeper = max(there - here, 0.0) / max(many - few, 1)
        passes = few * (layer[0] + here) + call[0]  # of a draft of one token
        return Costs(
            widths=WIDTHS,
            layer=tuple(layer),
            head=tuple(head),
            head_call=tuple(call),
            draft_layer=here - few * deeper,
            draft_depth=deeper,
            draft_call=max(took[f"draft {few} 1"] - passes, 0.0),
            position=max((took["far"] - whole[0]) / self.layers / distance, 0.0),
            round=max(took["rounds"] - self.depth * layer[0] - head[0], 0.0),
            vocabulary=self.model.choosable,
            context=self.near,
            copied_layer=self._per_layer(took, "copied draft", few, call[0]) if self.copy else 0.0,
            copied_head=took["copied head"] if self.copy else 0.0,
        )

    @staticmethod
    def _per_layer(took: dict[str, float], name: str, exit_layer: int, call: float) -> float:
        """Of one more token."""
        short, long = (took[f"{name} {exit_layer} {length}"] for length in DRAFTS)
        token = (long - short) / (DRAFTS[1] - DRAFTS[0])
        return max((token - call) / exit_layer, 0.0)
