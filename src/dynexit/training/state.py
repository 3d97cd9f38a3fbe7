"""The state of a training run, in one file: written whole, and looked at when it is read.

Not responsible for what a state is made of (`trainer.py`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynexit.errors import DynexitError, reason
from dynexit.model.files import replacing


def write_state(file: Path, state: Mapping[str, Any]) -> None:
    """Put a state in the place of an older one.

    Raises:
        DynexitError: there is no room for it; then the older one is still there.
    """
    with replacing(file) as partial, partial.open("wb") as opened:
        torch.save(state, opened)


def read_state(file: Path, device: torch.device) -> dict[str, Any]:
    """What `write_state` has written.

    Raises:
        DynexitError: the file cannot be read, or holds something else.
    """
    try:
        state = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # damage is told in every way that pickle, zip and torch have
        raise damaged(file, reason(error)) from error
    if not isinstance(state, dict):
        raise damaged(file, "it holds no state")
    return state


def damaged(file: Path, why: str) -> DynexitError:
    """The error message for a file that is not a state of this run."""
    return DynexitError(f"{file} cannot be continued ({why}): delete it to begin anew.")


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError where a weight is not a number."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} holds what is not a number")


def restore_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimiser's state.

    Raises:
        ValueError: it belongs to parameters of other shapes.
    """
    optimiser.load_state_dict(state)
    for parameter, values in optimiser.state.items():
        for name, value in values.items():
            fits = not isinstance(value, Tensor) or value.shape in (parameter.shape, ())
            if not (isinstance(parameter, nn.Parameter) and fits):
                raise ValueError(f"{name} of an optimiser has another shape")
