"""What a method is told of a model before a text begins."""

from dataclasses import dataclass

from dynexit.decoding.costs import Costs
from dynexit.decoding.records import ShadowTokens
from dynexit.decoding.successors import SuccessorTable
from dynexit.model.native.earlier import NativeEarlier


@dataclass(frozen=True)
class Facts:
    """Nothing has a default: whoever opens a decoding must say it.

    Attributes:
        num_layers: of the model.
        costs: of its passes on this machine, for a controller that `reads_costs`.
        sample: what its exits say of another text, for one that `reads_sample`.
        draft_vocabulary: tokens of the head that exits read; None is all.
        table: likely next tokens, as the model's own text taught them, if there is one.
        earlier: texts that were written before, if there are any that this one may be drafted from.
    """

    num_layers: int
    costs: Costs | None
    sample: ShadowTokens | None
    draft_vocabulary: int | None
    table: SuccessorTable | None
    earlier: NativeEarlier | None
