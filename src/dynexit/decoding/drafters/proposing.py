"""What every drafter that reads logits does with them."""

import math
from typing import TYPE_CHECKING

from torch import Tensor

from dynexit.decoding.records import Draft, Plan
from dynexit.decoding.sampling import NO_TOKEN
from dynexit.model.readings import Readings

if TYPE_CHECKING:
    from dynexit.decoding.sequence import Sequence


def propose(proposed: Draft, logits: Tensor | Readings, sequence: "Sequence", plan: Plan) -> bool:
    """Choose the next drafted token from logits [1, V]; says whether drafting ends with it.

    It ends as the plan says, after a token that ends the text, and without a token where logits are
    not numbers: whether that matters, the target's own will tell.
    """
    confident = plan.reads_confidence
    first = len(proposed.tokens)
    choice = sequence.chooser.choose(logits, proposed.tokens, first, confident)
    if choice.tokens[0] == NO_TOKEN or any(map(math.isnan, choice.confidences)):
        return True
    proposed.tokens += choice.tokens
    proposed.confidences += choice.confidences
    if choice.logits is not None:
        proposed.logits.append(choice.logits)
    unsure = confident and plan.ends_with(proposed.confidences)
    return unsure or choice.tokens[0] in sequence.limits.eos
