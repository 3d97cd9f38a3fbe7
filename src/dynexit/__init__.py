"""dynexit: faster generation by lossless speculative decoding.

Each name is imported on first use, so `import dynexit` itself is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynexit.decoding.constraint import Constraint
    from dynexit.decoding.controllers.base import Controller
    from dynexit.decoding.facts import Facts
    from dynexit.decoding.plans import Plan
    from dynexit.decoding.records import Round, ShadowTokens
    from dynexit.decoding.sampling_parameters import Sampling
    from dynexit.decoding.state import Chunk
    from dynexit.decoding.statistics import Statistics
    from dynexit.errors import DynexitError
    from dynexit.generation import Generation, Stream
    from dynexit.integrations.transformers import accelerate, generate_hf
    from dynexit.language_model import LanguageModel, load
    from dynexit.learning.learn import learn
    from dynexit.learning.learned import Learned
    from dynexit.sessions import Chat, Session

__version__ = "0.1.0"

__all__ = [
    "Chat",
    "Chunk",
    "Constraint",
    "Controller",
    "DynexitError",
    "Facts",
    "Generation",
    "LanguageModel",
    "Learned",
    "Plan",
    "Round",
    "Sampling",
    "Session",
    "ShadowTokens",
    "Statistics",
    "Stream",
    "accelerate",
    "generate_hf",
    "learn",
    "load",
]

_HOMES = {
    "decoding.constraint": ("Constraint",),
    "decoding.controllers.base": ("Controller",),
    "decoding.facts": ("Facts",),
    "decoding.plans": ("Plan",),
    "decoding.records": ("Round", "ShadowTokens"),
    "decoding.sampling_parameters": ("Sampling",),
    "decoding.state": ("Chunk",),
    "decoding.statistics": ("Statistics",),
    "errors": ("DynexitError",),
    "integrations.transformers": ("accelerate", "generate_hf"),
    "generation": ("Generation", "Stream"),
    "language_model": ("LanguageModel", "load"),
    "learning.learn": ("learn",),
    "learning.learned": ("Learned",),
    "sessions": ("Chat", "Session"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # a type checker knows the names above and no other

    def __getattr__(name: str) -> Any:
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
        globals()[name] = found
        return found
