"""Drafts by the whole model without some of its sublayers: attention blocks and MLPs at any depth.

Source: Draft & Verify (Zhang et al., arXiv 2309.08168). For models that were not trained for exits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from dynexit.decoding.controllers.base import Controller, Length, Share
from dynexit.decoding.controllers.draft_verify import Adaptive
from dynexit.decoding.facts import Facts
from dynexit.decoding.plans import PLAIN_STEP, Plan, Skipping
from dynexit.decoding.records import Round
from dynexit.errors import DynexitError
from dynexit.model.skips import Skips
from dynexit.plain import shown


def inner_sublayers(num_layers: int) -> range:
    """The sublayers that may be left out: all but those of the first and the last layer."""
    return range(2, 2 * num_layers - 2)


def spread(num_layers: int, share: float) -> Skips:
    """A share of the inner sublayers, evenly spread."""
    inner = inner_sublayers(num_layers)
    count = round(share * len(inner))
    return Skips.of(
        num_layers, [inner[(2 * i + 1) * len(inner) // (2 * count)] for i in range(count)]
    )


@dataclass
class SkippingController(Controller):
    """Drafts until a token's confidence falls below the threshold.

    With `adaptive`, the threshold follows the acceptance rate from there on, as in Draft & Verify.
    A subclass chooses what is left out.
    """

    drafters = ("skipping",)

    speculation_length: Length = 12
    threshold: Share = 0.8
    adaptive: bool = False

    def start(self, facts: Facts) -> None:
        """Begin with the threshold that is set."""
        super().start(facts)
        self._moving = Adaptive(self.threshold) if self.adaptive else None

    def skipping(self) -> Skipping:
        """What the next draft leaves out."""
        raise NotImplementedError

    def plan(self) -> Plan:
        """Plan a draft; a plain step where nothing is left out."""
        skipping = self.skipping()
        if not skipping.skips.sublayers and skipping.budget is None:
            return PLAIN_STEP
        threshold = self.threshold if self._moving is None else self._moving.gamma
        layers, length = skipping.skips.kept_layers, self.speculation_length
        return Plan(layers, length, threshold, "skipping", settings=skipping)

    def observe(self, finished: Round) -> None:
        """Move the threshold."""
        if self._moving is not None:
            self._moving.observe(finished)


@dataclass
class Skip(SkippingController):
    """A fixed set: numbers of the layers without attention, and of those without MLP.

    They count from 1 and are joined by +. Where neither is given, what `dynexit skip-search` found
    for this model; without that, 45 % of the sublayers of all but the first and the last layer,
    evenly spread.
    """

    reads_skips: ClassVar[bool] = True

    attention: int | str | None = None
    mlp: int | str | None = None

    def start(self, facts: Facts) -> None:
        """Check the layers against the model."""
        super().start(facts)
        layers, self.found = facts.num_layers, None
        if self.attention is None and self.mlp is None:
            if facts.skips is not None:
                self.found = f"leaves out {settings_of(facts.skips)}, as skip-search found"
            self._skipping = Skipping(facts.skips or spread(layers, 0.45))
            return
        attention = _layers("attention", self.attention, layers)
        mlp = _layers("mlp", self.mlp, layers)
        out = [*(2 * layer - 2 for layer in attention), *(2 * layer - 1 for layer in mlp)]
        self._skipping = Skipping(Skips.of(layers, out))

    def skipping(self) -> Skipping:
        """The same for every draft."""
        return self._skipping


def method_of(skips: Skips) -> str:
    """The method with this set, which leaves out something."""
    return f"skip:{settings_of(skips)}"


def settings_of(skips: Skips) -> str:
    """The settings that name this set."""
    parts = []
    for name, half in ("attention", 0), ("mlp", 1):
        layers = [str(part // 2 + 1) for part in skips.sublayers if part % 2 == half]
        parts += [f"{name}={'+'.join(layers)}"] if layers else []
    return ",".join(parts)


def _layers(name: str, value: int | str | None, num_layers: int) -> Sequence[int]:
    """The layers that a setting names, such as 3+5+7.

    Raises:
        DynexitError: it names something else, or a layer that the model does not have.
    """
    parts = [] if value is None else str(value).split("+")
    if not all(part.isdecimal() and len(part) <= 4 for part in parts):
        raise DynexitError(
            f"{name} is {shown(value)}: it must be numbers of layers joined by +, such as 3+5+7."
        )
    layers = [int(part) for part in parts]
    if outside := [layer for layer in layers if not 1 <= layer <= num_layers]:
        raise DynexitError(
            f"{name} names layer {outside[0]}: the layers of this model are 1 to {num_layers}."
        )
    return layers


METHODS = {"skip": Skip}
