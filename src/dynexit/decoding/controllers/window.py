"""Drafts that see a window of a long context (MagicDec, arXiv 2408.11049): how long they are.

On a long context, a pass spends most of its time on keys and values. A draft by the same layers
over the first positions and the latest ones reads few of these and says nearly the same.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from dynexit.decoding.controllers.base import Controller, Layer, Length, Share, check_exit_layer
from dynexit.decoding.costs import ROUGH
from dynexit.decoding.facts import Facts
from dynexit.decoding.plans import PLAIN_STEP, Plan, Windowed
from dynexit.decoding.records import Round
from dynexit.model.windows import Window
from dynexit.plain import Within

Positions = Annotated[int, Within(1, 1 << 20)]

# Chosen, not tuned on any text.
MOST = 12  # tokens of a draft whose length is measured
LIKELY = 0.8  # acceptance rate before any draft is seen
TRUST = 4.0  # drafted tokens that this counts for
MEMORY = 0.95  # of what was seen, per round
KEPT = 16  # rounds that a measured length is kept: finding it takes as long as a third of a step
MARGIN = 0.03  # that a draft must promise beyond a plain step


@dataclass
class WindowController(Controller):
    """Drafts by all layers, or the first `exit_layer`, over `sinks` and `recent` positions.

    With `speculation_length=measured`, the length is the one that should write the most text in the
    time that passes take on this machine at this context, by the acceptance rate so far. It may be
    0, a plain step; then the rate returns to where it began, so that drafts are tried again.
    """

    drafters = ("windowed",)

    sinks: Positions = 4
    recent: Positions = 256
    exit_layer: Layer | None = None
    speculation_length: Length | Literal["measured"] = "measured"
    threshold: Share = 0.0

    def __post_init__(self) -> None:
        self.reads_costs = self.speculation_length == "measured"

    def start(self, facts: Facts) -> None:
        """Check the layers against the model, and forget the last text."""
        super().start(facts)
        self._layers = facts.num_layers
        if self.exit_layer is not None:
            self._layers = check_exit_layer(self.exit_layer, facts.num_layers)
        self._costs, self._batch_size = facts.costs or ROUGH, 1
        self._vocabulary = facts.draft_vocabulary
        self._accepted = self._judged = 0.0
        self._context = 0
        self._length = self._kept = 0  # a length, and the rounds that it is kept for

    def share(self, batch_size: int) -> None:
        """Take the number of texts that share the next passes."""
        if batch_size != self._batch_size:
            self._batch_size, self._kept = batch_size, 0

    def reach(self, context: int) -> None:
        """Take the number of tokens so far."""
        self._context = context

    def plan(self) -> Plan:
        """Plan a draft, as long as set or as it pays."""
        length = self.speculation_length
        if isinstance(length, str):
            if not self._kept:
                self._length, self._kept = self._best_length(), KEPT
            length = self._length
        if length == 0:
            return PLAIN_STEP
        settings = Windowed(Window(self.sinks, self.recent))
        return Plan(self._layers, length, self.threshold or None, "windowed", settings=settings)

    def _best_length(self) -> int:
        """The length that promises the most tokens in the time; 0 where none pays."""
        speeds = [self._tokens(length) / self._seconds(length) for length in range(MOST + 1)]
        best = max(range(MOST + 1), key=speeds.__getitem__)
        return best if speeds[best] > (1 + MARGIN) * speeds[0] else 0

    def _tokens(self, length: int) -> float:
        """Tokens that a round is expected to write."""
        rate = (LIKELY * TRUST + self._accepted) / (TRUST + self._judged)
        return sum(rate**level for level in range(length + 1))

    def _seconds(self, length: int) -> float:
        """Seconds of a round."""
        costs = self._costs.shared(self._batch_size)
        seen = costs.at(min(self._context, self.sinks + self.recent))
        drafted = seen.layers(self._layers, 1) + costs.unembed(1, self._vocabulary)
        begun = costs.draft_call if length else 0.0
        verified = costs.at(self._context).verify(self.num_layers)[length + 1]
        return begun + length * drafted + verified

    def observe(self, finished: Round) -> None:
        """Count what a draft brought."""
        self._kept = max(self._kept - 1, 0)
        judged = min(finished.accepted + 1, finished.drafted)
        self._accepted = MEMORY * self._accepted + finished.accepted
        self._judged = MEMORY * self._judged + judged


METHODS = {"window": WindowController}
