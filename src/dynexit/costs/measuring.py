"""Times a model's passes for the table of costs: some seconds, no text needed."""

from collections.abc import Callable
from functools import cached_property, partial
from itertools import chain, product, repeat
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch

from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.costs import ROUGH, Costs, rising
from dynexit.decoding.facts import Facts
from dynexit.decoding.job import Job
from dynexit.decoding.limits import Limits
from dynexit.decoding.loop import finish
from dynexit.decoding.sequence import Decoding
from dynexit.model.drafting_rule import DraftingRule
from dynexit.model.interface import Model, Span

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16)
CONTEXT = 256  # positions in the cache
FAR = 4_096  # and far off: of small models, fewer would stay in the processor's cache
LEAST_FAR, MEMORY = 1_024, 2**30  # where so many bytes do not hold them, fewer, but so many
FAR_WIDTHS = 1, 2, 8  # rows there: a second row is partly hidden behind reading keys and values
FEW = 64  # tokens of the head: almost none
LEVEL = 4  # rows of a level of a draft that branches
DRAFTS = 1, 5  # tokens of a short draft and of a long one
PASS = 0.02  # seconds that one timing may take: of a larger model, some layers stand for all
REPEATS, BUDGET = 21, 3.0  # at most so often, and no more once so many seconds are over
FAR_REPEATS = 5  # of passes far off, which differ more from the others than from each other
LEAST = 9  # however slow the model; on CUDA the first time, passes are recorded


@torch.inference_mode()
def measure_costs(model: Model, copied: bool = False) -> Costs:
    """Time verifications and drafts of `model`, in turn, as in rounds; the median of each counts.

    A context too short for that has the rough costs.

    Args:
        copied: times drafts of its copy, too.
    """
    if model.config.max_positions < 2 * WIDTHS[-1]:
        return ROUGH
    bench = _Bench(model, copied)
    began = perf_counter()
    for done in range(1, REPEATS + 1):
        bench.measure()
        if done <= FAR_REPEATS:
            bench.measure_far()
        if done >= LEAST and perf_counter() - began > BUDGET:
            break
    return bench.costs()


class _Bench:
    """The timings so far, by what was timed."""

    def __init__(self, model: Model, copied: bool) -> None:
        config = model.config
        self.model, self.cache, self.depth = model, model.new_cache(), config.num_layers
        self.last = config.max_positions - WIDTHS[-1] - 1
        self.near = min(CONTEXT, self.last)
        self.seconds: dict[str, list[float]] = {}
        self.layers = 1
        for _ in range(2):  # the first is not quick
            self._layers("one layer", 1)
        quickest = max(min(self.seconds["one layer"]), 1e-6)
        self.layers = max(1, min(self.depth, int(PASS / quickest)))
        self.small = self.layers == self.depth
        few, many = max(1, self.depth // 5), max(1, self.depth - 1)
        self.exits = (few, many) if self.small else (few,)  # no cache holds a larger model's layers
        copy = model.draft_copy
        deep = copied and copy is not None and copy.kept_layers >= few
        self.copy: Any = copy if deep else None

    def measure(self) -> None:
        """Every timing once."""
        drafts = chain(product(self.exits, DRAFTS), repeat(None))
        for width, draft in zip(WIDTHS, drafts, strict=False):
            self._verify(f"head {width}", width, layers=0)
            hidden = self.model.embed([0] * width)
            self._time(f"call {width}", partial(self.model.read, hidden, FEW))
            self._pass(f"pass {width}", width)
            if draft is not None:
                self._drafted(*draft)
        self._pass("pass 1", 1)
        self._level(1)
        self._level(LEVEL)
        if self.copy is not None:
            for length in DRAFTS:
                self._pass("pass 1", 1)
                self._draft("copied draft", self.copy, self.exits[0], length)
            self._time("copied head", lambda: self.copy.read(self.model.embed([0])))
        if self.small:  # in a larger model's rounds, the time outside passes is negligible
            self._rounds("rounds", Controller())
            self._rounds("analysed rounds", _Watching())

    def measure_far(self) -> None:
        """Passes over a long context, once."""
        for width in FAR_WIDTHS:
            self._once(f"far {width}", width, self.far)

    @cached_property
    def far(self) -> int:
        """A position far off, once passes have run near by, with a cache of up to twice `near`."""
        size = max(self.cache.bytes // max(self.near, 1), 1)  # of a position, or less
        return min(max(MEMORY // size, LEAST_FAR), FAR, self.last)

    def _pass(self, name: str, width: int) -> None:
        """A verification; of a small model the second of two: a round follows one like it, and some
        layers stay in a cache.
        """
        if self.small:
            self._once(f"cold {name}", width)
        self._once(name, width)

    def _once(self, name: str, width: int, position: int | None = None) -> None:
        """All layers and the head, as one verification; of a larger model, some layers."""
        if self.small:
            self._verify(name, width, self.depth, position)
        else:
            self._layers(name, width, position)

    def _layers(self, name: str, width: int, position: int | None = None) -> None:
        model, layers = self.model, self.layers
        hidden, span = model.embed([0] * width), self._span(width, position)
        self._time(name, lambda: model.run_layers(hidden, model.rows([span]), 0, layers))

    def _level(self, width: int) -> None:
        """A pass of a draft whose first layers have just run, for so many rows."""
        model, layers = self.model, self.exits[0]
        hidden, span = model.embed([0] * width), self._span(width, None)

        def run() -> None:
            model.run_layers(hidden, model.rows([span]), 0, layers)

        run()
        self._time(f"level {width}", run)

    def _verify(self, name: str, width: int, layers: int, position: int | None = None) -> None:
        """The last layers and the head, for so many rows."""
        model, begin = self.model, self.depth - layers
        tokens, span = [0] * width, self._span(width, position)

        self._time(name, lambda: model.verify(tokens, span, begin, self.depth))

    def _span(self, width: int, position: int | None) -> Span:
        return Span(self.cache, self.near if position is None else position, width)

    def _drafted(self, exit_layer: int, length: int) -> None:
        """A draft after a round with a draft like it, where that leaves some layers in a cache."""
        if self.small:
            self._draft("first draft", self.model, exit_layer, length)
            self._verify("rest", length + 1, self.depth - exit_layer)
        self._draft("draft", self.model, exit_layer, length)

    def _draft(self, name: str, model: Model, exit_layer: int, length: int) -> None:
        """A draft of so many tokens, with almost no head."""
        rule = DraftingRule(exit_layer, length, limit=FEW)
        given = self.cache, self.near, 0, rule, False
        self._time(f"{name} {exit_layer} {length}", lambda: model.draft(*given))

    def _rounds(self, name: str, controller: Controller) -> None:
        """Some plain steps, whatever they write."""
        config = self.model.config
        facts = Facts(config.num_layers, None, None, controller.draft_vocabulary, None, None, None)
        job = Job([0], Limits(DRAFTS[-1], config.max_positions))
        sequence = Decoding(self.model, controller, facts, job)
        finish(sequence)
        took = sequence.stats.decode_seconds / len(sequence.stats.rounds)
        self.seconds.setdefault(name, []).append(took)

    def _time(self, name: str, action: Callable[[], object]) -> None:
        began = perf_counter()
        action()
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
        self.seconds.setdefault(name, []).append(perf_counter() - began)

    def costs(self) -> Costs:
        """The table. More rows are never cheaper: what disturbs one timing does not disturb all."""
        took = {name: median(values) for name, values in self.seconds.items()}
        head = rising(took[f"head {width}"] for width in WIDTHS)
        passes = rising(took[f"pass {width}"] for width in WIDTHS)
        among = head if self.small else [0.0] * len(WIDTHS)  # of what a pass took
        layer = rising(max(p - h, 0.0) / self.layers for p, h in zip(passes, among, strict=True))
        call = [min(took[f"call {w}"], most) for w, most in zip(WIDTHS, head, strict=True)]
        few, many = self.exits[0], self.exits[-1]
        here, there = (self._per_layer(took, "draft", each, call[0]) for each in (few, many))
        deeper = max(there - here, 0.0) / max(many - few, 1)
        short = few * (layer[0] + here) + call[0]  # passes of a draft of one token
        position = self._positions(took, dict(zip(WIDTHS, passes, strict=True)))
        around = took.get("rounds", 0.0)
        further = self.depth * position[0] * self.near  # those rounds had almost no context
        return Costs(
            widths=WIDTHS,
            layer=tuple(layer),
            head=tuple(head),
            head_call=tuple(call),
            draft_layer=here - few * deeper,
            draft_depth=deeper,
            draft_row=max(took[f"level {LEVEL}"] - took["level 1"], 0.0) / (LEVEL - 1) / few,
            draft_call=max(took[f"draft {few} {DRAFTS[0]}"] - short, 0.0),
            position=tuple(position),
            round=max(around + further - self.depth * layer[0] - head[0], 0.0),
            analysis=max(took.get("analysed rounds", 0.0) - around - call[0], 0.0),
            vocabulary=self.model.vocabulary_size,
            context=self.near,
            copied_layer=self._per_layer(took, "copied draft", few, call[0]) if self.copy else 0.0,
            copied_head=took["copied head"] if self.copy else 0.0,
        )

    def _positions(self, took: dict[str, float], passes: dict[int, float]) -> list[float]:
        """Of one more position, per layer, for each width: on lines between those measured."""
        spread = self.layers * max(self.far - self.near, 1)
        seen = rising(max(took[f"far {w}"] - passes[w], 0.0) / spread for w in FAR_WIDTHS)
        slope = (seen[-1] - seen[-2]) / (FAR_WIDTHS[-1] - FAR_WIDTHS[-2])
        beyond = seen[-1] + slope * (WIDTHS[-1] - FAR_WIDTHS[-1])
        return np.interp(WIDTHS, [*FAR_WIDTHS, WIDTHS[-1]], [*seen, beyond]).tolist()

    @staticmethod
    def _per_layer(took: dict[str, float], name: str, exit_layer: int, call: float) -> float:
        """Of one more token."""
        short, long = (took[f"{name} {exit_layer} {length}"] for length in DRAFTS)
        token = (long - short) / (DRAFTS[1] - DRAFTS[0])
        return max((token - call) / exit_layer, 0.0)


class _Watching(Controller):
    """Asks for one layer's shadow tokens, with almost no head."""

    reads_shadow = True
    shadow_layers = (1,)
    draft_vocabulary = FEW
