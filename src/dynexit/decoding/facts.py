"""What a controller knows of the model before a text begins."""

from dataclasses import dataclass

from dynexit.decoding.costs import Costs
from dynexit.decoding.records import ShadowTokens
from dynexit.decoding.successors import SuccessorTable
from dynexit.model.native.earlier import NativeEarlier
from dynexit.model.skips import Skips


@dataclass(frozen=True)
class Facts:
    """Facts about the model. No field has a default: the caller must give them all.

    Attributes:
        num_layers: decoder layers of the model.
        costs: seconds of its passes on this machine, for a controller that `reads_costs`.
        sample: its exits' predictions for a sample text, for a controller that `reads_sample`.
        draft_vocabulary: tokens of the head that exits choose among; None is all.
        table: the learned table of likely next tokens, if there is one.
        earlier: earlier texts that this one may be drafted from, if there are any.
        skips: the sublayers to leave out that a search found, for a controller that `reads_skips`.
    """

    num_layers: int
    costs: Costs | None
    sample: ShadowTokens | None
    draft_vocabulary: int | None
    table: SuccessorTable | None
    earlier: NativeEarlier | None
    skips: Skips | None
