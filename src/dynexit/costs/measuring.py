"""Times a model's passes for the table of costs: a second or two, no text needed."""

from collections.abc import Callable
from functools import partial
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

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16)
CONTEXT, FAR = 256, 1_024  # positions in the cache, near and far
FEW = 64  # tokens of the head: next to none
DRAFTS = 5
PASS = 0.02  # seconds that one timing may take: of a larger model, some layers stand for all
REPEATS, BUDGET = 7, 1.5  # at most so often, and no more once so many seconds are over
LEAST_ON_CUDA = 3  # where the first time, passes are recorded and kernels chosen


@torch.inference_mode()
def measure_costs(model: Model) -> Costs:
    """Time layers, head and drafts of `model`, in turn; the quickest of each is undisturbed.

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
        self.model, self.cache = model, model.new_cache()
        self.copy: Any = getattr(model, "draft_copy", None)
        self.exit = max(1, config.num_layers // 5)
        last = config.max_positions - WIDTHS[-1] - 1
        self.near, self.far = min(CONTEXT, last), min(FAR, last)
        self.seconds: dict[str, list[float]] = {}
        self.layers = 1
        for _ in range(2):  # the first is not quick
            self._layers("one layer", model.embed([0]), self.near)
        quickest = max(min(self.seconds["one layer"]), 1e-6)
        self.layers = max(1, min(config.num_layers, int(PASS / quickest)))

    def measure(self) -> None:
        """Every timing once."""
        model = self.model
        for width in WIDTHS:
            hidden = model.embed([row % model.choosable for row in range(width)])
            self._layers(f"layers {width}", hidden, self.near)
            self._head(f"head {width}", hidden, None)
            self._head(f"call {width}", hidden, FEW)
        self._layers("far", model.embed([0]), self.far)
        self._drafts("draft", model)
        if self.copy is not None:
            self._drafts("copied draft", self.copy)
            self._time("copied head", lambda: self.copy.read(model.embed([0])))
        self._plain_rounds()

    def _layers(self, name: str, hidden: torch.Tensor, position: int) -> None:
        span = Span(self.cache, position, len(hidden))
        model, layers = self.model, self.layers
        self._time(name, lambda: model.run_layers(hidden, model.rows([span]), 0, layers))

    def _head(self, name: str, hidden: torch.Tensor, limit: int | None) -> None:
        self._time(name, lambda: self.model.read(hidden, limit))

    def _drafts(self, name: str, model: Model) -> None:
        """A short draft and a long one, each after a pass of all layers, as in a round."""
        for length in (1, DRAFTS):
            self._layers("all", self.model.embed([0]), self.near)
            self._time(f"{name} {length}", partial(self._draft, model, length))

    def _draft(self, model: Model, length: int) -> None:
        """A draft of so many tokens, next to no head."""
        if drafts_alone(model):
            rule = DraftingRule(self.exit, length, limit=FEW)
            model.draft(self.cache, self.near, 0, rule, False)
            return
        for place in range(self.near, self.near + length + 1):
            rows = model.rows([Span(self.cache, place, 1)])
            hidden = model.run_layers(model.embed([0]), rows, 0, self.exit)
            if place < self.near + length:
                model.read(hidden, FEW)

    def _plain_rounds(self) -> None:
        """Some rounds of plain decoding, whatever they write."""
        limits = Limits(DRAFTS, self.model.config.max_positions)
        sequence = Sequence(self.model, [0], Controller(), Sampling(), limits, NoText())
        finish(sequence)
        self.seconds.setdefault("rounds", []).append(sequence.stats.decode_seconds / (DRAFTS - 1))

    def _time(self, name: str, action: Callable[[], object]) -> None:
        began = perf_counter()
        action()
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
        self.seconds.setdefault(name, []).append(perf_counter() - began)

    def costs(self) -> Costs:
        """The table."""
        took = {name: min(values) for name, values in self.seconds.items()}
        layer = [took[f"layers {width}"] / self.layers for width in WIDTHS]
        head = [took[f"head {width}"] for width in WIDTHS]
        call = [min(took[f"call {width}"], took[f"head {width}"]) for width in WIDTHS]
        distance = max(self.far - self.near, 1)
        depth = self.model.config.num_layers
        drafted = self._per_layer(took, "draft", call[0])
        passes = self.exit * (layer[0] + drafted) + call[0]  # of a draft of one token
        return Costs(
            widths=WIDTHS,
            layer=tuple(layer),
            head=tuple(head),
            head_call=tuple(call),
            draft_layer=drafted,
            draft_call=max(took["draft 1"] - passes, 0.0),
            position=max((took["far"] / self.layers - layer[0]) / distance, 0.0),
            round=max(took["rounds"] - depth * layer[0] - head[0], 0.0),
            vocabulary=self.model.choosable,
            context=self.near,
            copied_layer=self._per_layer(took, "copied draft", call[0]) if self.copy else 0.0,
            copied_head=took["copied head"] if self.copy else 0.0,
        )

    def _per_layer(self, took: dict[str, float], name: str, call: float) -> float:
        """Of one more token."""
        token = (took[f"{name} {DRAFTS}"] - took[f"{name} 1"]) / (DRAFTS - 1)
        return max((token - call) / self.exit, 0.0)
