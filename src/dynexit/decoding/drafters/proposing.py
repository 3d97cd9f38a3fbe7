"""What every drafter that reads logits does with them."""

from typing import TYPE_CHECKING

from torch import Tensor

from dynexit.decoding.records import Draft, Plan
from dynexit.decoding.sampling import NO_TOKEN
from dynexit.model.drafting_rule import Child, Growth
from dynexit.model.readings import Readings

if TYPE_CHECKING:
    from dynexit.decoding.sequence import Sequence


class Proposal:
    """A chain that grows token by token, until `over`.

    It ends as the plan says, after a token that ends the text, and without a token where logits are
    not numbers: whether that matters, the target's own will tell.

    Attributes:
        draft: so far.
    """

    def __init__(self, sequence: "Sequence", plan: Plan) -> None:
        self._chooser, self._confident = sequence.chooser, plan.reads_confidence
        self._growth = Growth(plan.rule(eos=sequence.limits.eos))
        self.draft = Draft(layer=plan.exit_layer)

    @property
    def over(self) -> bool:
        """Whether there is no further token."""
        return self._growth.over

    def add(self, logits: Tensor | Readings) -> bool:
        """Choose the next token from logits [1, V]; says whether there is one."""
        draft = self.draft
        row = len(draft.tokens)
        choice = self._chooser.choose(logits, draft.tokens, row, self._confident)
        if (token := choice.tokens[0]) == NO_TOKEN:
            return False
        sure = choice.confidences[0] if self._confident else 1.0
        if not self._growth.grow([Child(row, 0, token, sure, sure)]):
            return False
        draft.tokens.append(token)
        draft.confidences += choice.confidences
        if choice.logits is not None:
            draft.logits.append(choice.logits)
        return True
