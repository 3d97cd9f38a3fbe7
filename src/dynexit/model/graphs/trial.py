"""Tests whether recorded passes compute the same as eager ones on this machine."""

import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.model.graphs.drafting import Measures
from dynexit.model.graphs.pieces import Attend
from dynexit.model.graphs.recording import CudaRecorder, Recorder
from dynexit.model.graphs.transformer import RecordedTransformer
from dynexit.model.interface import Configured, Span
from dynexit.model.transformer import Transformer

PASSES = (tuple(range(9)), (0,), (1,), (2, 0, 1))  # tokens; one width is replayed with others
TREE = (0, 0, 1)  # of the last pass: parents of four rows
LAYERS = 3  # of each device: a block of two and one of one
ROUNDING = 0.05  # of a number; bf16 rounds to 0.004, many times


def obstacle(*devices: torch.device) -> str | None:
    """Why nothing can be recorded on these devices, if so."""
    others = [device for device in devices if device.type != "cuda"]
    return f"it runs on CUDA devices, not on {others[0]}" if others else None


def recorded(
    model: Transformer, record: Recorder | None = None, attend: Attend | None = None
) -> RecordedTransformer:
    """`model`, replayed.

    Raises:
        DynexitError: this machine cannot record, or replays something else.
    """
    try:
        graphs = RecordedTransformer(model, record or CudaRecorder(), attend or _kernels())
        if _agree(graphs, model):
            return graphs
        reason = "what was replayed are other numbers than were recorded"
    except Exception as error:  # whatever CUDA and Triton may say
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        reason = f"recording failed ({said.rstrip('.')})"
    raise DynexitError(f"the graphs runtime cannot be used: {reason}; use --runtime eager.")


def recorded_if_possible(model: Transformer, record: Recorder | None = None) -> Configured:
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
    return all(
        _near(*both)
        for first in firsts
        for both in zip(_said(graphs, first), _said(eager, first), strict=True)
    )


def _said(model: Measures, first: int) -> Iterator[Tensor]:
    """Of passes over a growing text, and a draft's: the states after some layers from `first` on,
    and what the head says of them.
    """
    stop, cache, start = min(first + LAYERS, model.config.num_layers), model.new_cache(), 0
    for tokens in PASSES:
        yield from _passed(model, tokens, Span(cache, start, len(tokens)), first, stop)
        start += len(tokens)
    tree = Span(cache, start, 1 + len(TREE), TREE, start + 1 + len(TREE))
    yield from _passed(model, range(tree.length), tree, first, stop)


def _passed(
    model: Measures, tokens: Sequence[int], span: Span, first: int, stop: int
) -> tuple[Tensor, Tensor]:
    ids = [token % model.vocabulary_size for token in tokens]
    hidden = model.run_layers(model.embed(ids), model.rows([span]), first, stop)
    return hidden, model.measure(hidden)[1:]


def _kernels() -> Attend:
    """The CUDA kernels; they need Triton, which comes with PyTorch on Linux."""
    from dynexit.model.graphs.kernels import attend

    return attend


def _near(ours: Tensor, theirs: Tensor) -> bool:
    """In every row, most numbers and the largest; a model may have some that dwarf the others."""
    apart, size = (ours - theirs).abs().float(), theirs.abs().float()
    most = apart.median(-1).values <= ROUNDING * size.median(-1).values
    return bool((most & (apart.amax(-1) <= ROUNDING * size.amax(-1))).all())
