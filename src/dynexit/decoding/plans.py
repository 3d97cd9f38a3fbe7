"""What a controller plans for a round."""

from dataclasses import dataclass, replace
from typing import Any, TypeVar

from dynexit.errors import DynexitError
from dynexit.model.drafting_rule import DraftingRule, Pricing
from dynexit.model.skips import Skips
from dynexit.model.windows import Window


class DrafterSettings:
    """Base class of what a plan tells one drafter alone. Subclasses are frozen dataclasses."""


Own = TypeVar("Own", bound=DrafterSettings)


@dataclass(frozen=True)
class Skipping(DrafterSettings):
    """What a draft leaves out of the whole model, and what its drafter finds out before it.

    Attributes:
        skips: sublayers that the draft leaves out, unless others are searched for and found.
        trial: sublayers to judge, by how many of the text's last `window` tokens one pass without
            them reproduces: the round's `agreement`.
        budget: share of the time of a whole pass; sublayers are searched for that leave no more:
            the round's `found`.
    """

    skips: Skips
    trial: Skips | None = None
    window: int = 32
    budget: float | None = None


@dataclass(frozen=True)
class Windowed(DrafterSettings):
    """What a draft sees of the cache."""

    window: Window


@dataclass(frozen=True)
class LookaheadSize(DrafterSettings):
    """How wide a round of lookahead decoding is.

    Attributes:
        window: columns of guesses; 0 is none.
        ngram: tokens of an n-gram, the one that it follows included.
        pool: n-grams that are verified, at most.
    """

    window: int
    ngram: int
    pool: int


@dataclass(frozen=True)
class Lattice(DrafterSettings):
    """How a path is searched through what a masked-diffusion model finds likely.

    Attributes:
        mass: probability that a position's candidates have together.
        candidates: of a position, at most.
        beam: paths that the search keeps.
        paths: of these, verified as one tree.
        trigrams: weight of the 3-gram model in a path's score, 0 to 1; the rest is the diffusion
            model's.
        recent: last tokens of the text that each pass reads again; None is all.
    """

    mass: float
    candidates: int
    beam: int
    paths: int
    trigrams: float
    recent: int | None


@dataclass(frozen=True)
class Plan:
    """A controller's choice for the next round. A speculation length of 0 is a plain step.

    A draft has at most `speculation_length` levels. Without `pricing` it is a chain. With it, it is
    a tree where the runtime can verify one, else a chain whose tokens must be worth as much. A
    token whose confidence is below `threshold` is verified but has no children. A drafter that runs
    none of the target's layers has exit layer 0.

    `shadow` lists the layers whose shadow tokens the round returns; None is all layers that the
    controller reads. `settings` are for the planned drafter alone.
    """

    exit_layer: int = 1
    speculation_length: int = 0
    threshold: float | None = None
    drafter: str = "early-exit"
    pricing: Pricing | None = None
    shadow: tuple[int, ...] | None = None
    settings: DrafterSettings | None = None

    def own(self, kind: type[Own]) -> Own:
        """The planned drafter's own settings.

        Raises:
            DynexitError: the plan has none of this kind.
        """
        if not isinstance(self.settings, kind):
            raise DynexitError(
                f"the method planned the drafter {self.drafter!r} without its settings: give "
                f"Plan(settings={kind.__name__}(...))."
            )
        return self.settings

    @property
    def reads_confidence(self) -> bool:
        """Whether confidences may end the draft."""
        return self.threshold is not None or self.pricing is not None

    def with_children(self, most: int) -> "Plan":
        """The same plan with at most `most` children per token."""
        if self.pricing is None or most >= len(self.pricing.odds):
            return self
        return replace(self, pricing=self.pricing.with_children(most))

    def rule(self, **more: Any) -> DraftingRule:
        """The plan as a model's `DraftingRule`."""
        length, threshold = self.speculation_length, self.threshold or 0.0
        return DraftingRule(self.exit_layer, length, threshold, self.pricing, **more)


PLAIN_STEP = Plan()
