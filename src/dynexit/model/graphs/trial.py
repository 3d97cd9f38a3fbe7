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

PAST, SEVERAL = tuple(range(9)), (4, 7, 1)
PASSES = ((0,), (1,), (2, 0, 1))  # tokens of each; one width is replayed with other numbers
LAYERS = 2  # of each device: all kinds of pieces
ROUNDING = 0.02  # of a number; bf16 rounds to 0.004


def obstacle(*devices: torch.device) -> str | None:
    """Why nothing can be recorded on these devices, if so."""
    others = [device for device in devices if device.type != "cuda"]
    return f"it runs on CUDA devices, not on {others[0]}" if others else None


def recorded(model: Transformer, record: Recorder | None = None) -> RecordedTransformer:
    """`model`, replayed.

    Raises:
        DynexitError: this machine cannot record, or replays something else.
    """
    model.by_length = _attends_by_length(model)
    graphs = RecordedTransformer(model, record or CudaRecorder())
    try:
        if _agree(graphs, model):
            return graphs
        reason = "what was replayed are other numbers than were recorded"
    except RuntimeError as error:  # whatever CUDA may say
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        reason = f"recording failed ({said.rstrip('.')})"
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
def _attends_by_length(model: Transformer) -> bool:
    """Whether several rows may attend without a mask: flash attention does, in 16 bits."""
    if model.dtype.itemsize != 2:
        return False
    masked = _after_a_past(model)
    model.by_length = True
    try:
        return _near(_after_a_past(model), masked)
    except RuntimeError:  # a kernel that this machine lacks
        return False


def _after_a_past(model: Transformer) -> Tensor:
    """States of several rows that see others."""
    cache = model.new_cache()
    stop = min(LAYERS, model.config.num_layers)
    for start, tokens in ((0, PAST), (len(PAST), SEVERAL)):
        rows = model.rows([Span(cache, start, len(tokens))])
        hidden = model.embed([token % model.vocabulary_size for token in tokens])
        hidden = model.run_layers(hidden, rows, 0, stop)
    return hidden


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
    ids = [token % model.vocabulary_size for token in tokens]
    hidden = model.run_layers(model.embed(ids), rows, first, stop)
    return hidden, model.measure(hidden)[1:]


def _near(ours: Tensor, theirs: Tensor) -> bool:
    """In every row, most numbers and the largest; a model may have some that dwarf the others."""
    apart, size = (ours - theirs).abs().float(), theirs.abs().float()
    most = apart.median(-1).values <= ROUNDING * size.median(-1).values
    return bool((most & (apart.amax(-1) <= ROUNDING * size.amax(-1))).all())
