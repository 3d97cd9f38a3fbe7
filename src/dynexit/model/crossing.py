"""Transfers between host and device. The host waits for the device only here.

A wait may leave the device idle, so a transfer is awaited as late as possible. Transfers arrive in
the order in which they were sent.
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
        """The numbers. Waits for them and for all work that the device was given before."""
        if self._arrived is not None:
            self._arrived.synchronize()
            self._arrived = None
        return self._numbers.numpy()


def sent(tokens: Sequence[int], device: torch.device) -> Tensor:
    """Token ids [N] on `device`, without a wait."""
    if device.type != "cuda":
        return torch.tensor(tokens, device=device)
    return torch.tensor(tokens, pin_memory=True).to(device, non_blocking=True)
