"""What every drafter that reads logits does with them."""

from typing import TYPE_CHECKING

from torch import Tensor

from dynexit.decoding.records import Draft, Plan
from dynexit.model.readings import Readings

if TYPE_CHECKING:
    from dynexit.decoding.sequence import Sequence


def propose(proposed: Draft, logits: Tensor | Readings, sequence: "Sequence", plan: Plan) -> bool:
    """Choose the next drafted token from logits [1, V]; says whether drafting ends with it.

    It ends after a token below the plan's threshold and after one that ends the text.
    """
    confident = plan.threshold is not None
    first = len(proposed.tokens)
    choice = sequence.chooser.choose(logits, proposed.tokens, first, confident)
    proposed.tokens += choice.tokens
    proposed.confidences += choice.confidences
    if choice.logits is not None:
        proposed.logits.append(choice.logits)
    unsure = plan.threshold is not None and choice.confidences[0] < plan.threshold
    return unsure or choice.tokens[0] in sequence.limits.eos
