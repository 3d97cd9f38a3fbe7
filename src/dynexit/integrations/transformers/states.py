"""Processors and criteria that may keep a state from call to call, such as a grammar's.

One that is not known to keep none is called as plain `generate` calls it: once for every token that
stays, and in order. Each row of a batch advances at its own pace, so it gets copies of its own.
"""

import copy
from types import FunctionType
from typing import Any

from torch import nn
from transformers import StoppingCriteria
from transformers.generation import logits_process, stopping_criteria

from dynexit.errors import DynexitError

# These read nothing but their scores, so that any number of rows goes through them together.
ROWWISE = {
    "TemperatureLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper", "MinPLogitsWarper",
    "TypicalLogitsWarper", "EpsilonLogitsWarper", "EtaLogitsWarper",
}  # fmt: skip
STATELESS = ROWWISE | {
    "MinLengthLogitsProcessor", "MinNewTokensLengthLogitsProcessor", "TopHLogitsWarper",
    "RepetitionPenaltyLogitsProcessor", "EncoderRepetitionPenaltyLogitsProcessor",
    "NoRepeatNGramLogitsProcessor", "EncoderNoRepeatNGramLogitsProcessor",
    "SequenceBiasLogitsProcessor", "NoBadWordsLogitsProcessor", "ForcedBOSTokenLogitsProcessor",
    "ForcedEOSTokenLogitsProcessor", "InfNanRemoveLogitsProcessor", "LogitNormalization",
    "ExponentialDecayLengthPenalty", "SuppressTokensAtBeginLogitsProcessor",
    "SuppressTokensLogitsProcessor", "WatermarkLogitsProcessor",
}  # fmt: skip


def is_rowwise(processor: Any) -> bool:
    """Whether a processor is one of transformers' that read nothing but scores."""
    return type(processor).__name__ in ROWWISE and is_stateless(processor)


def is_stateless(one: Any) -> bool:
    """Whether a processor or criterion is one of transformers' that say the same whenever asked."""
    home = type(one).__module__
    if isinstance(one, StoppingCriteria):
        return home == stopping_criteria.__name__
    return home == logits_process.__name__ and type(one).__name__ in STATELESS


def own_copies(ones: list[Any]) -> list[Any]:
    """The same for one row of a batch; models that a processor holds stay shared.

    Raises:
        DynexitError: one that cannot be copied, by name.
    """
    return type(ones)(one if is_stateless(one) else _own_copy(one) for one in ones)


def _own_copy(one: Any) -> Any:
    try:
        held = [one] if isinstance(one, FunctionType) else list(vars(one).values())
        if any(isinstance(value, FunctionType) and value.__closure__ for value in held):
            raise TypeError("what a function encloses is shared by its copies")
        shared = {id(value): value for value in held if isinstance(value, nn.Module)}
        return copy.deepcopy(one, shared)
    except Exception as error:  # copying runs anybody's code
        name = getattr(one, "__name__", type(one).__name__)
        raise DynexitError(
            f"{name} may keep a state but cannot be copied for each prompt of a batch: give one "
            "prompt at a time."
        ) from error
