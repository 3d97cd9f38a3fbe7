"""The base class of controllers, which itself does plain decoding."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from dynexit.decoding.facts import Facts
from dynexit.decoding.plans import PLAIN_STEP, Plan
from dynexit.decoding.records import Offer, Round, ShadowTokens
from dynexit.errors import DynexitError
from dynexit.plain import Within

SecondModel = Literal["causal", "diffusion"]
LONGEST = 64  # tokens per draft, at most: later ones are rarely reached, and other texts must wait
Layer = Annotated[int, Within(1, 1_000)]
Length = Annotated[int, Within(0, LONGEST)]
Share = Annotated[float, Within(0, 1)]
Vocabulary = Annotated[int, Within(1, 1 << 25)]


class Controller:
    """Chooses exit layer and speculation length for each round. Override what you need.

    The loop calls `start` once per prompt, `observe_prompt` once if `prompt_positions` is above 0,
    then `plan` and `observe` in turn. It may shorten a plan (at the end of the text or context), so
    `observe` must use what the round did, not what was planned.
    """

    reads_shadow: ClassVar[bool] = False  # whether rounds must carry shadow tokens
    shadow_layers: tuple[int, ...] | None = None  # layers of shadow tokens; None: all but the last
    prompt_positions: int = 0  # last positions of the prompt that `observe_prompt` gets
    lossless: ClassVar[bool] = True
    drafts: ClassVar[bool] = True  # whether a round may have a draft at all
    drafters: tuple[str, ...] = ("early-exit",)  # drafters that its plans may name
    second_model: ClassVar[SecondModel | None] = None  # kind of the draft model that it needs
    proposers: tuple[str, ...] = ()  # proposers that the drafter "sources" asks
    int8: bool = False  # whether it drafts with an int8 copy of the first layers
    reads_costs = False  # whether `start` needs the costs of passes
    reads_sample: ClassVar[bool] = False  # whether it needs the exits' predictions for a sample
    reads_skips: ClassVar[bool] = False  # whether it needs the sublayers that a search found
    draft_vocabulary: Vocabulary | None = None  # tokens that exits choose among; None: the default
    text_tokens: bool = False  # whether they also choose among those of prompt and text so far

    num_layers: int = 0
    found: str | None = None  # what else was found for this model and is used, in a few words

    def start(self, facts: Facts) -> None:
        """Begin a new prompt and forget the previous one. `facts` describe the model.

        Raises:
            DynexitError: this model cannot run with the controller's settings.
        """
        self.num_layers = facts.num_layers

    def target_layer(self) -> int:
        """Layers that the target runs: all of them, unless the method is lossy."""
        return self.num_layers

    def observe_prompt(self, shadow: ShadowTokens) -> None:
        """Take the shadow tokens of the prompt's last positions."""

    def share(self, batch_size: int) -> None:
        """Take the number of sequences that share the next round; called before `plan`."""

    def reach(self, context: int) -> None:
        """Take the number of tokens so far, the prompt's included; called before `plan`."""

    def consider(self, offer: Offer) -> None:
        """Take the proposers' offer for the next round; called before `plan`."""

    def plan(self) -> Plan:
        """Plan the next round."""
        return PLAIN_STEP

    def observe(self, finished: Round) -> None:
        """Take the outcome of the last round."""


@dataclass
class FixedExit(Controller):
    """A controller whose exit layer is a setting; None is a quarter of the depth."""

    exit_layer: Layer | None = None

    def start(self, facts: Facts) -> None:
        """Check the exit layer against the model."""
        super().start(facts)
        self.exit = check_exit_layer(self.exit_layer, facts.num_layers)


def check_exit_layer(exit_layer: int | None, num_layers: int) -> int:
    """The exit layer to use: the given one, or by default a quarter of the depth.

    Raises:
        DynexitError: it is not between 1 and the layer before the last.
    """
    if num_layers < 2:
        raise DynexitError("a model of one layer has no early exit: use --method vanilla.")
    if exit_layer is None:
        return max(1, num_layers // 4)
    if not 1 <= exit_layer <= num_layers - 1:
        raise DynexitError(
            f"exit layer {exit_layer} is not between 1 and {num_layers - 1}, the last possible "
            "exit of this model."
        )
    return exit_layer
