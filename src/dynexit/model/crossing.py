"""What crosses between host and device, and when the host waits for it: nowhere else does it wait.

A wait lets the device run dry, so what is sent is opened as late as possible: a parcel that was
sent before another one has arrived with it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Parcel:
    """Numbers on their way to the host."""

    def __init__(self, numbers: Tensor) -> None:
        self._numbers = numbers.to("cpu", non_blocking=True)
        self._arrived: torch.cuda.Event | None = None
        if numbers.is_cuda:
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(numbers.device))

    def open(self) -> NDArray[np.floating]:
        """The numbers; waits for them and for whatever the device had to do before."""
        if self._arrived is not None:
            self._arrived.synchronize()
            self._arrived = None
        return self._numbers.numpy()


def sent(tokens: Sequence[int], device: torch.device) -> Tensor:
    """Token ids [N] on `device`, without a wait."""
    if device.type != "cuda":
        return torch.tensor(tokens, device=device)
    return torch.tensor(tokens, pin_memory=True).to(device, non_blocking=True)
