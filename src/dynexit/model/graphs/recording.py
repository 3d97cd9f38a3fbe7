"""Records a piece of work as a CUDA graph; the only module here that uses CUDA graphs.

Not responsible for a piece's inputs and outputs: tensors that keep their addresses.
"""

from collections.abc import Callable
from typing import Any

import torch

Piece = Callable[[], None]
# Given a piece of work on a device, what does it again, on the same tensors. The piece may run any
# number of times while it is recorded.
Recorder = Callable[[Piece, torch.device], Piece]

WARM_UPS = 2  # libraries choose kernels and take memory the first time, which cannot be recorded


class CudaRecorder:
    """Records CUDA graphs. Those of a device share the memory of what they compute in between."""

    def __init__(self) -> None:
        self._beside: dict[torch.device, tuple[torch.cuda.Stream, Any]] = {}

    def __call__(self, piece: Piece, device: torch.device) -> Piece:
        """See `Recorder`. What is replayed runs in the caller's stream."""
        with torch.cuda.device(device):
            stream, pool = self._stream_and_pool(device)
            _warm_up(piece, stream)
            graph, mode = torch.cuda.CUDAGraph(), "thread_local"  # others may use the device
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode=mode):
                piece()
        return graph.replay

    def _stream_and_pool(self, device: torch.device) -> tuple[torch.cuda.Stream, Any]:
        if device not in self._beside:
            self._beside[device] = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()
        return self._beside[device]


def _warm_up(piece: Piece, stream: torch.cuda.Stream) -> None:
    """Run the piece first in the recording stream, so that its libraries are ready there."""
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            piece()
    torch.cuda.current_stream().wait_stream(stream)
