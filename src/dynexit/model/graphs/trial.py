"""Whether a machine records and replays what an eager pass computes, before it is believed."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.model.graphs.drafting import Measures
from dynexit.model.graphs.recording import CudaRecorder, Recorder
from dynexit.model.graphs.transformer import RecordedTransformer
from dynexit.model.interface import Model, Span
from dynexit.model.transformer import Transformer

PASSES = ((0,), (1,), (2, 0, 1))  # tokens of each; one width is replayed with other numbers
LAYERS = 2  # of each device: all kinds of pieces
ROUNDING = 0.02  # of the largest number; bf16 rounds to 0.004


def obstacle(*devices: torch.device) -> str | None:
    """Why nothing can be recorded on these devices, if so."""
    others = [device for device in devices if device.type != "cuda"]
    return f"it runs on CUDA devices, not on {others[0]}" if others else None


def recorded(model: Transformer, record: Recorder | None = None) -> RecordedTransformer:
    """`model`, replayed.

    Raises:
        DynexitError: this machine cannot record, or replays something else.
    """
    graphs = RecordedTransformer(model, record or CudaRecorder())
    try:
        if _agree(graphs, model):
            return graphs
        reason = "what was replayed are other numbers than were recorded"
    except RuntimeError as error:  # whatever CUDA may say
        reason = f"recording failed ({str(error).strip().splitlines()[0].rstrip('.')})"
    raise DynexitError(f"the graphs runtime cannot be used: {reason}; use --runtime eager.")


def recorded_if_possible(model: Transformer, record: Recorder | None = None) -> Model:
    """`model`, replayed; where this machine cannot, as it is, with a warning."""
    try:
        return recorded(model, record)
    except DynexitError as error:
        sentence = str(error).removesuffix("; use --runtime eager.")
        warnings.warn(f"{sentence}: this runs eagerly, and slower.", stacklevel=3)
        return model


@torch.inference_mode()
def _agree(graphs: RecordedTransformer, eager: Transformer) -> bool:
    homes = [eager.layer(index).device for index in range(eager.config.num_layers)]
    firsts = [homes.index(device) for device in dict.fromkeys(homes)]
    runs = [(first, tokens) for first in firsts for tokens in PASSES]
    pairs = [(_said(graphs, *run), _said(eager, *run)) for run in runs]
    return all(_near(*both) for ours, theirs in pairs for both in zip(ours, theirs, strict=True))


def _said(model: Measures, first: int, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The states after some layers from `first` on, and what the head says of them."""
    stop = min(first + LAYERS, model.config.num_layers)
    rows = model.rows([Span(model.new_cache(), 0, len(tokens))])
    ids = [token % model.choosable for token in tokens]
    hidden = model.run_layers(model.embed(ids), rows, first, stop)
    return hidden, model.measure(hidden)[1:]


def _near(ours: Tensor, theirs: Tensor) -> bool:
    return bool((ours - theirs).abs().max() <= ROUNDING * theirs.abs().max())
