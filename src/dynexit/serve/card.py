"""Facts about a model for clients: size, weights, and the exit that pays."""

from dataclasses import dataclass

from dynexit.agreement import best_exit
from dynexit.language_model import LanguageModel
from dynexit.model.loading import parameters
from dynexit.model.names import DTYPES
from dynexit.model.quantised import stored_weights, types_of


@dataclass(frozen=True)
class About:
    """A model in numbers.

    Attributes:
        parameters: how many.
        weight_bytes: that they take in memory.
        weights: formats of quantised matrices, the largest share first; else the dtype.
        exit_layer: the exit that promises most by what passes cost here; None where none pays.
        exit_agreement: how often that exit says what the last layer says, of a sample text.
    """

    parameters: int
    weight_bytes: int
    weights: str
    exit_layer: int | None
    exit_agreement: float | None

    @classmethod
    def of(cls, lm: LanguageModel) -> "About":
        """Reads a sample text through all layers."""
        model = lm.model
        held = model.layer_bytes + model.head_bytes + model.embedding_bytes
        sample = lm.sample
        best, _ = best_exit(model, sample)
        exits: tuple[int | None, float | None] = None, None
        if best.pays:
            exits = best.exit_layer, float(sample.matched[best.exit_layer - 1].mean())
        return cls(parameters(model.config)[0], held, _weights(lm), *exits)


def _weights(lm: LanguageModel) -> str:
    native = lm.model.runtime_name.startswith("native")  # others run them dequantised
    stored = stored_weights(lm.folder) if lm.folder and native else None
    if stored:
        return types_of(stored)
    dtype = str(lm.model.dtype).removeprefix("torch.")
    return next(short for short, name in DTYPES.items() if name == dtype)
