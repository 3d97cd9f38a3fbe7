"""DEL, the Dynamic Exit Layer (arXiv 2504.05598, COLM 2025), and its ablations.

Every layer's acceptance rate is estimated from shadow tokens. The exit layer is the one with the
highest expected Token-per-Layer; drafting stops when the confidence falls below that layer's
threshold. Not responsible for the statistics of each layer (`analysis.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dynexit.decoding.controllers.analysis import Analysis, BudgetAnalysis, Prices, spaced
from dynexit.decoding.controllers.base import LONGEST, Controller, Layer, check_exit_layer
from dynexit.decoding.costs import ROUGH, Costs
from dynexit.decoding.facts import Facts
from dynexit.decoding.paying import round_seconds
from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Round, ShadowTokens
from dynexit.errors import DynexitError
from dynexit.plain import Within

Floats = NDArray[np.float64]


def expected_tokens(rates: Floats, d_max: int) -> Floats:
    """Expected tokens of rounds that draft 0, 1, ... d_max tokens, [len(rates), d_max + 1].

    The sum of a^k rather than its closed form, since a rate may be 1 (DEL, section 3.2).

    Args:
        rates: acceptance rates; NaN where nothing has been observed.
    """
    expected = np.cumsum(rates[:, None] ** np.arange(d_max + 1), axis=1)
    expected[np.isnan(rates)] = np.nan  # NaN to the power 0 would be 1
    return expected


def loaded_layers(layers: Sequence[int], d_max: int, num_layers: int) -> Floats:
    """Layers that such rounds load: DEL's cost."""
    return np.array(layers)[:, None] * np.arange(d_max + 1.0) + num_layers


@dataclass
class Del(Controller):
    """DEL. With `analysis="full"` all other defaults are the paper's.

    Settings:
        analysis: "full" analyses every layer in every round with the whole head; "budget" analyses
            a few layers in some rounds with the head's first tokens, in 3 % of the time.
        cost: "layers" chooses the exit by tokens per loaded layer, "measured" by tokens per second
            on this machine; None is "measured" on a budget, else "layers".
        cap: "threshold" ends a draft by the confidence threshold alone; "planned" also ends it at
            the best d, where 0 is a plain step; None is "planned" where costs are measured, else
            "threshold".
        omega: decay of all counters per round, a memory of 1 / (1 - omega) rounds.
        d_max: longest speculation length.
        prompt_positions: positions of the prompt that seed the counters.
        threshold: if off, the length is always the planned one (DEL-E).
        exit_layer: fixes the exit layer (DEL-d).
        min_layer: shallowest layer that may be chosen (4 is DEL-E-lim).
        max_layer: deepest layer that is analysed and may be chosen; None is the one before the
            last.
    """

    reads_shadow: ClassVar[bool] = True

    analysis: Literal["full", "budget"] = "budget"
    cost: Literal["layers", "measured"] | None = None
    cap: Literal["threshold", "planned"] | None = None
    omega: Annotated[float, Within(0, 1, above=True)] = 0.95
    d_max: Annotated[int, Within(1, LONGEST)] = 18
    prompt_positions: Annotated[int, Within(0, LONGEST)] = 32
    threshold: bool = True
    exit_layer: Layer | None = None
    min_layer: Layer = 1
    max_layer: Layer | None = None

    def __post_init__(self) -> None:
        self._budget = self.analysis == "budget"
        self._measured = (self.cost or ("measured" if self._budget else "layers")) == "measured"
        self._planned = (self.cap or ("planned" if self._measured else "threshold")) == "planned"
        self.reads_costs = self._budget or self._measured

    def start(self, facts: Facts) -> None:
        """Forget everything."""
        super().start(facts)
        num_layers, self._costs = facts.num_layers, facts.costs or ROUGH
        self._vocabulary = facts.draft_vocabulary
        self._check()
        self._fixed = self._fixed_exit()
        self._chosen: Plan | None = None
        first, last = self.min_layer, min(self.max_layer or num_layers, num_layers - 1)
        if self._budget:
            layers = (self._fixed,) if self._fixed else spaced(first, last)
        else:
            layers = tuple(range(1, last + 1))
        self.shadow_layers = self._layers = layers
        allowed = [first <= layer == (self._fixed or layer) for layer in layers]
        self._eligible = np.array(allowed)[:, None]
        kind = BudgetAnalysis if self._budget else Analysis
        self._analysis = kind(layers, self.omega)
        self._prices = loaded_layers(layers, self.d_max, num_layers)
        if self.reads_costs:
            self._batch_size, self._context = 1, 0
            self._reckon(self._costs)

    def _fixed_exit(self) -> int | None:
        return self.exit_layer

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
        self._analysis.observe_prompt(shadow)

    def observe(self, finished: Round) -> None:
        """Count what the last round did."""
        if self._analysis.observe(finished):
            self._chosen = None

    def share(self, batch_size: int) -> None:
        """Use costs of passes shared by this many sequences, in powers of two."""
        if self.reads_costs and batch_size != self._batch_size:
            self._batch_size = batch_size
            self._turn()

    def reach(self, context: int) -> None:
        """Use costs of passes over so many positions."""
        if self.reads_costs:
            self._context = context
            self._turn()

    def _turn(self) -> None:
        """Price rounds anew where their costs are others."""
        batch_size = 1 << (self._batch_size - 1).bit_length()
        costs = self._costs.shared(batch_size).at(self._context)
        if costs is not self._used:
            self._reckon(costs)

    def _reckon(self, costs: Costs) -> None:
        """Price rounds and analyses anew."""
        self._used = costs
        shape = self.num_layers, self._vocabulary, self.d_max
        seconds = [round_seconds(costs, layer, *shape) for layer in self._layers]
        if self._measured:
            self._prices, self._chosen = np.array(seconds), None
        reading = partial(costs.unembed, limit=self._vocabulary)
        self._analysis.price(Prices(seconds, costs.analysis, cache(reading), self._batch_size == 1))

    def acceptance_rates(self) -> Floats:
        """Decayed acceptance rate of each analysed layer; NaN without observations."""
        return self._analysis.rates()

    def promises(self, rates: Floats) -> Floats:
        """Expected tokens over cost of rounds that draft 0, 1, ... d_max tokens with each analysed
        layer; 0 for a layer that may not be chosen or has no rate.
        """
        promises = expected_tokens(rates, self.d_max) / self._prices
        return np.fmax(promises, 0.0) * self._eligible

    def plan(self) -> Plan:
        """Plan the most promising layer, with the length according to the settings."""
        if self._chosen is None:
            self._chosen = self._choose()
        return self._analysis.planned(self._chosen)

    def _choose(self) -> Plan:
        promises = self.promises(self.acceptance_rates())
        if not promises.any():
            return Plan(shadow=self._analysis.shadow)
        self._analysis.rank(promises.max(), self.promises)
        row, length = self._best(promises)
        threshold = self._analysis.threshold(row) if self.threshold else None
        if self.threshold and not self._planned:
            length = self.d_max
        return Plan(self._layers[row], length, threshold, shadow=self._analysis.shadow)

    def _best(self, promises: Floats) -> tuple[int, int]:
        """(row, d) of the maximum.

        At d = 0 all layers are equal. If that is the maximum, the layer is the best one at d = 1.
        """
        row, length = divmod(int(promises.argmax()), self.d_max + 1)
        return (row, length) if length else (int(promises[:, 1].argmax()), 0)


@dataclass
class DelFixedExit(Del):
    """DEL-d: the length is dynamic, the exit layer a setting (a quarter of the depth)."""

    def _fixed_exit(self) -> int:
        return check_exit_layer(self.exit_layer, self.num_layers)


METHODS = {
    "del": Del,
    "del-e": partial(Del, threshold=False),
    "del-e-lim": partial(Del, threshold=False, min_layer=4),
    "del-d": DelFixedExit,
}
