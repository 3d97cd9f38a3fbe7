"""dynexit: faster generation by early-exit self-speculation, without changing a token."""

from typing import TYPE_CHECKING, Any

from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.records import Plan, Round, ShadowTokens, Statistics
from dynexit.decoding.sampling import Sampling
from dynexit.decoding.sequence import Chunk
from dynexit.errors import DynexitError
from dynexit.language_model import Generation, LanguageModel, Stream, load

if TYPE_CHECKING:
    from dynexit.integrations.transformers import accelerate, generate_hf

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
    "accelerate",
    "generate_hf",
    "load",
]


def __getattr__(name: str) -> Any:
    """What works inside transformers, which is imported only for who asks for it."""
    if name in ("accelerate", "generate_hf"):
        from dynexit.integrations import transformers

        return getattr(transformers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
