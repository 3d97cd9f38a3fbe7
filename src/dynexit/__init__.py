"""dynexit: faster generation by early-exit self-speculation, without changing a token."""

from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.records import Plan, Round, ShadowTokens, Statistics
from dynexit.decoding.sampling import Sampling
from dynexit.decoding.sequence import Chunk
from dynexit.errors import DynexitError
from dynexit.language_model import Generation, LanguageModel, Stream, load

__version__ = "0.1.0"

__all__ = [
    "Chunk",
    "Controller",
    "DynexitError",
    "Generation",
    "LanguageModel",
    "Plan",
    "Round",
    "Sampling",
    "ShadowTokens",
    "Statistics",
    "Stream",
    "load",
]
