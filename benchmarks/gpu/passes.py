"""Recorded passes beside eager ones: their numbers, their milliseconds, what the card does in them.

For each shape: passes of several rows over a filled cache, all layers and the head; a draft's pass
of the first layers and the head's first tokens; a whole draft, which only recorded passes make in
one go.
"""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from dynexit.bench.roofline import weight_bytes
from dynexit.model.draft_tokens import trimmed_vocabulary
from dynexit.model.drafting_rule import DraftingRule
from dynexit.model.graphs.transformer import RecordedTransformer
from dynexit.model.interface import Span
from dynexit.model.transformer import Transformer
from dynexit.synth import random_model
from gpu.machine import driver_says
from gpu.models import config_of, dtype_of, forget, recorded, shapes
from gpu.part import Part
from gpu.profiling import profile
from gpu.timing import bandwidth, timed

ROWS, PADDED = (1, 2, 4, 8, 16), (3, 13)  # recorded as they are; padded to the next
CONTEXT, EXIT, DRAFTED = 512, 8, 4
Run = RecordedTransformer | Transformer


def run(part: Part) -> None:
    found = bandwidth(part)
    part.put(found, "bandwidth_gb_s")
    part.say("GB/s of memory: " + ", ".join(f"{name} {rate:.0f}" for name, rate in found.items()))
    for name in shapes(part):
        if part.left < 10:
            part.put("no time left", "shapes", name, "error")
            continue
        _Shape(part, name, max(found.values())).measure()
        forget(part)
    part.put(driver_says(), "driver_after")


class _Shape:
    """A model of one shape, eager and recorded, over the same weights and cache."""

    def __init__(self, part: Part, name: str, rate: float) -> None:
        self.part, self.name, self.rate = part, name, rate
        self.config = config_of(part, name)
        self.context, self.exit = (32, 2) if part.rehearse else (CONTEXT, EXIT)
        torch.manual_seed(0)
        began = perf_counter()
        self.eager = random_model(self.config, dtype_of(part), part.device)
        part.wait()
        self.put(perf_counter() - began, "making_seconds")
        self.eager.vocabulary_size = self.config.vocab_size
        self.runs: dict[str, Run] = {"eager": self.eager}

    def put(self, value: Any, *keys: str) -> None:
        self.part.put(value, "shapes", self.name, *keys)

    @torch.inference_mode()
    def measure(self) -> None:
        self.cache = self.eager.new_cache()
        self._pass(self.eager, 0, self.context)
        self.part.wait()
        self._record()
        if "graphs" in self.runs:
            for rows in (*ROWS, *PADDED):
                self._compare(rows)
        for rows in ROWS:
            self._time(f"{rows} rows", partial(self._pass, start=self.context, rows=rows), rows)
        self._time("draft pass", self._draft_pass, 1)
        self._whole_draft()
        for runtime, model in self.runs.items():
            action = partial(self._pass, model, self.context, 1)
            file = self.part.folder / f"profile-{self.name}-{runtime}.txt"
            self.put(profile(self.part, action, file), "profile", runtime)
        if self.part.device.type == "cuda":
            self.put(torch.cuda.max_memory_reserved(), "memory_reserved_bytes")

    def _record(self) -> None:
        """The recorded model; what it says where it cannot be had."""
        began = perf_counter()
        try:
            self.runs["graphs"] = recorded(self.part, self.eager)
        except Exception as error:
            self.put(str(error), "graphs_error")
            self.part.say(f"{self.name}: {error}")
        self.put(perf_counter() - began, "trial_seconds")

    def _pass(self, model: Run, start: int, rows: int) -> tuple[Tensor, Tensor]:
        """All layers and the head for some rows: states [N, D], and what the head says [3, N]."""
        ids = [(7 * row + 3) % self.config.vocab_size for row in range(start, start + rows)]
        span = model.rows([Span(self.cache, start, rows)])
        hidden = model.run_layers(model.embed(ids), span, 0, self.config.num_layers)
        return hidden, model.measure(hidden)

    def _draft_pass(self, model: Run) -> Tensor:
        span = model.rows([Span(self.cache, self.context, 1)])
        hidden = model.run_layers(model.embed([3]), span, 0, self.exit)
        return model.measure(hidden, trimmed_vocabulary(self.config.vocab_size))

    def _compare(self, rows: int) -> None:
        """States and readings of a recorded pass beside the eager one's."""
        began = perf_counter()
        ours, said = self._pass(self.runs["graphs"], self.context, rows)
        self.part.wait()
        took = perf_counter() - began
        theirs, expected = self._pass(self.eager, self.context, rows)
        apart, size = (ours - theirs).abs().max(), theirs.abs().max()
        found = {
            "first_seconds": took,  # with recording
            "equal": bool(torch.equal(ours, theirs)),
            "largest_difference": float(apart / size),
            "finite": bool(torch.isfinite(ours).all()),
            "same_tokens": int((said[0] == expected[0]).sum()),
            "tokens": rows,
            "logits_apart": float((said[1:] - expected[1:]).abs().max()),
        }
        self.put(found, "numbers", str(rows))
        self.part.say(
            f"{self.name}, {rows} rows: states {'equal' if found['equal'] else 'differ'} "
            f"({found['largest_difference']:.1e}), {found['same_tokens']} of {rows} tokens the same"
        )

    def _time(self, what: str, action: Callable[[Run], object], rows: int) -> None:
        actions = {runtime: partial(action, model) for runtime, model in self.runs.items()}
        took = timed(self.part, actions, 1.5)
        moved = self._moved(what, rows)
        for runtime, one in took.items():
            one["share_of_bandwidth"] = moved / self.rate / one["done_ms"] / 1e6
            self.put(one, "times", what, runtime)
            self.part.say(
                f"{self.name}, {what}, {runtime}: launched in {one['launch_ms']:.2f} ms, done in "
                f"{one['done_ms']:.2f} ms, {one['share_of_bandwidth']:.0%} of the bandwidth"
            )

    def _moved(self, what: str, rows: int) -> int:
        """Bytes of weights, keys and values that a pass reads."""
        config, width = self.config, self.eager.dtype.itemsize
        layers, weights = config.num_layers, weight_bytes(self.eager)
        if what == "draft pass":
            layers, head = self.exit, trimmed_vocabulary(config.vocab_size) * config.hidden_size
            weights = (layers * config.layer_parameters + head) * width
        positions = 2 * config.num_kv_heads * config.head_dim * (self.context + rows)
        return weights + layers * positions * width

    def _whole_draft(self) -> None:
        """A draft of some tokens by recorded passes, whose tokens the host does not wait for."""
        model = self.runs.get("graphs")
        if not isinstance(model, RecordedTransformer):
            return
        limit = trimmed_vocabulary(self.config.vocab_size)
        rule = DraftingRule(self.exit, DRAFTED, limit=limit)

        def draft(model: Run) -> object:
            assert isinstance(model, RecordedTransformer)
            return model.draft(self.cache, self.context, 3, rule, False)

        took = timed(self.part, {"graphs": partial(draft, model)}, 1.0)["graphs"]
        self.put({**took, "tokens": DRAFTED}, "times", "whole draft", "graphs")
        self.part.say(f"{self.name}, a draft of {DRAFTED}: {took['done_ms']:.2f} ms")
