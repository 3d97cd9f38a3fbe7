"""What every controller is, and the no-op that plain decoding needs."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from dynexit.decoding.facts import Facts
from dynexit.decoding.records import PLAIN_STEP, Offer, Plan, Round, ShadowTokens
from dynexit.errors import DynexitError
from dynexit.plain import Within

LONGEST = 64  # tokens of a draft: what follows is hardly ever reached, and others wait for it
Layer = Annotated[int, Within(1, 1_000)]
Length = Annotated[int, Within(0, LONGEST)]
Share = Annotated[float, Within(0, 1)]
Vocabulary = Annotated[int, Within(1, 1 << 25)]


class Controller:
    """Chooses exit layer and speculation length anew each round. Override what you need.

    The loop calls `start` once per prompt, `observe_prompt` once where `prompt_positions` asks for
    it, then `plan` and `observe` in turn. It may shorten a plan (the text's end, the context's
    end), so `observe` must go by what the round did, not by what was planned.
    """

    reads_shadow: ClassVar[bool] = False  # whether rounds must carry shadow tokens
    shadow_layers: tuple[int, ...] | None = None  # these layers'; None is of all but the last
    prompt_positions: int = 0  # of the prompt whose shadow tokens `observe_prompt` gets
    lossless: ClassVar[bool] = True
    drafts: ClassVar[bool] = True  # whether a round may have a draft at all
    drafters: tuple[str, ...] = ("early-exit",)  # those that its plans may name
    proposers: tuple[str, ...] = ()  # those that the drafter "sources" asks
    int8: bool = False  # whether it drafts with a copy of the first layers in int8
    reads_costs = False  # whether `start` needs what passes cost here
    reads_sample: ClassVar[bool] = False  # whether it needs what exits say of another text
    draft_vocabulary: Vocabulary | None = None  # of the head that exits read; None is the default

    num_layers: int = 0

    def start(self, facts: Facts) -> None:
        """A new prompt on a model of which this is known: forget the last one.

        Raises:
            DynexitError: settings that this model cannot run.
        """
        self.num_layers = facts.num_layers

    def target_layer(self) -> int:
        """Layers that the target runs: all of them, unless the method is lossy."""
        return self.num_layers

    def observe_prompt(self, shadow: ShadowTokens) -> None:
        """Shadow tokens of the prompt's last positions."""

    def share(self, batch_size: int) -> None:
        """How many sequences make the next round together; called before `plan`."""

    def consider(self, offer: Offer) -> None:
        """What proposers have at hand for the next round; called before `plan`."""

    def plan(self) -> Plan:
        """The next round."""
        return PLAIN_STEP

    def observe(self, finished: Round) -> None:
        """What the last round did."""


@dataclass
class FixedExit(Controller):
    """A controller whose exit layer is a setting; None stands for a quarter of the depth."""

    exit_layer: Layer | None = None

    def start(self, facts: Facts) -> None:
        """Checks the exit layer against the model."""
        super().start(facts)
        self.exit = check_exit_layer(self.exit_layer, facts.num_layers)


def check_exit_layer(exit_layer: int | None, num_layers: int) -> int:
    """The exit layer to use.

    Raises:
        DynexitError: not between 1 and the layer before the last.
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
