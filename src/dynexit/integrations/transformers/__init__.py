"""Inside Hugging Face transformers: `model.generate(..., custom_generate=dynexit.generate_hf)`.

- `generation.py` is what transformers calls, `writing.py` writes a batch, and `refusals.py` says
  what cannot be done.
- `choosing.py` and `ending.py` put transformers' logits processors, stopping criteria and streamers
  where decoding chooses tokens and ends texts; `states.py` knows which of them may keep a state.
- `runtimes.py` decides what runs a loaded model: its own weights in our forward pass
  (`sharing.py`, where `plain.py` finds nothing else in it), its own layers (`adapter.py`), or a
  packed copy (`accelerate`).
- `versions.py` has what releases of transformers name differently.
- `hub.py` writes the `custom_generate` folder of a checkpoint repository.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynexit.integrations.transformers.generation import generate_hf
    from dynexit.integrations.transformers.runtimes import accelerate

__all__ = ["accelerate", "generate_hf"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Both when they are asked for: exporting a checkpoint's folder needs no transformers."""
        if name == "generate_hf":
            from dynexit.integrations.transformers.generation import generate_hf as found
        elif name == "accelerate":
            from dynexit.integrations.transformers.runtimes import accelerate as found
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return found
