"""DEL, the Dynamic Exit Layer (arXiv 2504.05598, COLM 2025), and its ablations.

Every layer's acceptance rate is read off shadow tokens. The exit layer is the one that promises
most Token-per-Layer; drafting stops where the confidence falls below a threshold of that layer's.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dynexit.decoding.controllers.base import LONGEST, Controller, Layer, check_exit_layer
from dynexit.decoding.records import PLAIN_STEP, Plan, Round, ShadowTokens
from dynexit.errors import DynexitError
from dynexit.plain import Within

Floats = NDArray[np.float64]


def token_per_layer(rates: Floats, d_max: int, num_layers: int) -> Floats:
    """TPL(l, d), [len(rates), d_max + 1]: expected tokens of a round over layers loaded.

    The sum of a^k rather than its closed form, since a rate may be 1 (DEL, section 3.2).

    Args:
        rates: acceptance rate of layers 1, 2, ...; NaN where nothing has been observed.
    """
    lengths = np.arange(d_max + 1)
    expected = np.cumsum(rates[:, None] ** lengths, axis=1)
    expected[np.isnan(rates)] = np.nan  # NaN to the power 0 would be 1
    loaded = np.arange(1, len(rates) + 1)[:, None] * lengths + num_layers
    return expected / loaded


@dataclass
class Del(Controller):
    """DEL. The defaults are the paper's.

    Settings:
        omega: decay of all counters per round, a memory of 1 / (1 - omega) rounds.
        d_max: longest speculation length.
        prompt_positions: positions of the prompt that seed the counters.
        cap: "threshold", as published: the length comes from the threshold alone; "planned": it
            also ends at the d of the maximum, where 0 is a plain step.
        threshold: off, the length is always the planned one (DEL-E).
        exit_layer: fixes the exit layer (DEL-d).
        min_layer: shallowest layer that may be chosen (4 is DEL-E-lim).
        max_layer: deepest layer that is analysed and may be chosen; None is all but the last. The
            analysis costs a head for each layer and position.
    """

    reads_shadow: ClassVar[bool] = True

    omega: Annotated[float, Within(0, 1, above=True)] = 0.95
    d_max: Annotated[int, Within(1, LONGEST)] = 18
    prompt_positions: Annotated[int, Within(0, LONGEST)] = 32
    cap: Literal["threshold", "planned"] = "threshold"
    threshold: bool = True
    exit_layer: Layer | None = None
    min_layer: Layer = 1
    max_layer: Layer | None = None

    def start(self, num_layers: int) -> None:
        """Forget everything: rows of the counters are matched and mismatched shadow tokens."""
        super().start(num_layers)
        self._check()
        self._fixed = self.exit_layer
        self.shadow_layers = min(self.max_layer or num_layers, num_layers - 1)
        self._counts = np.zeros((2, self.shadow_layers))
        self._confidence = np.zeros_like(self._counts)

    def _check(self) -> None:
        check_exit_layer(self.exit_layer, self.num_layers)
        if not 1 <= self.min_layer <= self.num_layers - 1:
            raise DynexitError(
                f"min_layer {self.min_layer} is not between 1 and {self.num_layers - 1}."
            )
        deepest = self.max_layer or self.num_layers
        if deepest < self.min_layer:
            raise DynexitError(f"max_layer {deepest} is below min_layer {self.min_layer}.")
        if self.exit_layer is not None and not self.min_layer <= self.exit_layer <= deepest:
            raise DynexitError(
                f"exit layer {self.exit_layer} is below min_layer {self.min_layer} or above "
                f"max_layer {deepest}."
            )

    def observe_prompt(self, shadow: ShadowTokens) -> None:
        """Seed the counters."""
        self._count(shadow)

    def observe(self, finished: Round) -> None:
        """Decay, then count the round's committed positions."""
        self._counts *= self.omega
        self._confidence *= self.omega
        if finished.shadow is not None:
            self._count(finished.shadow)

    def _count(self, shadow: ShadowTokens) -> None:
        matched, confidence = shadow.matched, shadow.confidence
        hits, sure = matched.sum(1), (confidence * matched).sum(1)
        self._counts += hits, matched.shape[1] - hits
        self._confidence += sure, confidence.sum(1) - sure

    def acceptance_rates(self) -> Floats:
        """Decayed rate per layer 1..L-1; NaN where a layer has no observation."""
        seen = self._counts.sum(0)
        return np.divide(self._counts[0], seen, out=np.full_like(seen, np.nan), where=seen > 0)

    def plan(self) -> Plan:
        """The layer of the greatest TPL, and the length by the settings."""
        layer, length = self._best()
        if layer == 0:
            return PLAIN_STEP
        threshold = self._threshold_of(layer) if self.threshold else None
        if self.cap == "planned" or not self.threshold:
            return Plan(layer, length, threshold)
        return Plan(layer, self.d_max, threshold)

    def _best(self) -> tuple[int, int]:
        """(layer, d) of the maximum; layer 0 where no layer is eligible.

        At d = 0 all layers are equal, so where that is the maximum, the layer is the best of d = 1.
        """
        tpl = token_per_layer(self.acceptance_rates(), self.d_max, self.num_layers)
        first, last = (1, len(tpl)) if self._fixed is None else (self._fixed, self._fixed)
        first = max(first, self.min_layer)
        eligible = np.fmax(tpl[first - 1 : last], 0.0)  # 0 where a layer has no observation
        if not eligible.any():
            return 0, 0
        layer, length = divmod(int(eligible.argmax()), self.d_max + 1)
        if length == 0:
            layer = int(eligible[:, 1].argmax())
        return first + layer, length

    def _threshold_of(self, layer: int) -> float | None:
        """Midpoint of the mean confidences; None while the layer has seen only one kind."""
        counts = self._counts[:, layer - 1]
        if min(counts) <= 0:
            return None
        return float((self._confidence[:, layer - 1] / counts).mean())


@dataclass
class DelFixedExit(Del):
    """DEL-d: the length is dynamic, the exit layer a setting (a quarter of the depth)."""

    def start(self, num_layers: int) -> None:
        """Settle the exit layer."""
        super().start(num_layers)
        self._fixed = check_exit_layer(self.exit_layer, num_layers)


METHODS = {
    "del": Del,
    "del-e": partial(Del, threshold=False),
    "del-e-lim": partial(Del, threshold=False, min_layer=4),
    "del-d": DelFixedExit,
}
