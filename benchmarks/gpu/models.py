"""Random models of real shapes, made where they run."""

import gc
from dataclasses import replace

import torch

from dynexit.model.config import ModelConfig
from dynexit.model.graphs import trial
from dynexit.model.graphs.host import attend
from dynexit.model.graphs.transformer import RecordedTransformer
from dynexit.model.transformer import Transformer
from dynexit.shapes import SHAPES, agreement_curve
from dynexit.synth import agreeing_model
from gpu.part import Part

LARGE, TINY = ("llama3.2-1b", "llama3-8b"), ("tiny",)
AGREEMENT = {  # of some layers with the last, as in real models
    "llama3.2-1b": {3: 0.74, 8: 0.98},
    "llama3-8b": {6: 0.74, 16: 0.98},
    "tiny": {2: 0.74, 4: 0.9},
}
ZIPF = 1.2


def shapes(part: Part) -> tuple[str, ...]:
    """Names of those to run."""
    return TINY if part.rehearse else LARGE


def config_of(part: Part, name: str) -> ModelConfig:
    """A shape; in a rehearsal fewer layers."""
    return replace(SHAPES[name], num_layers=6) if part.rehearse else SHAPES[name]


def dtype_of(part: Part) -> torch.dtype:
    return torch.float32 if part.rehearse else torch.bfloat16


def agreeing(part: Part, name: str) -> Transformer:
    """A model whose exits are worth something."""
    config = config_of(part, name)
    wanted = agreement_curve(AGREEMENT[name], config.num_layers)
    return agreeing_model(config, wanted, dtype_of(part), zipf=ZIPF, device=part.device)


def forget(part: Part) -> None:
    """Free what models that are gone have held, and count peaks of memory anew."""
    gc.collect()
    if part.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(part.device)


def recorded(part: Part, model: Transformer) -> RecordedTransformer:
    """Its recorded passes; in a rehearsal each piece runs again instead of being replayed."""
    return trial.recorded(model, *((lambda piece, _: piece, attend) if part.rehearse else ()))
