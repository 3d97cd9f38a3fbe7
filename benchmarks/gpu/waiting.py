"""How often the host waits for the device while a text is written, and for how long."""

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import torch

from dynexit.bench.provenance import ROOT

HIDDEN = "called a synchronizing CUDA operation"  # what PyTorch warns of


@dataclass
class Waits:
    """What was seen.

    Attributes:
        asked: for an event or a stream, by name.
        ready: of these, with nothing left to wait for.
        seconds: of all of these.
        hidden: operations that wait without being asked to, by the line that they stand in.
    """

    asked: int = 0
    ready: int = 0
    seconds: float = 0.0
    hidden: Counter[str] = field(default_factory=Counter)

    def synchronize(self, of: Any, wait: Any) -> None:
        """Wait for an event or a stream, counted."""
        began = perf_counter()
        self.ready += of.query()
        wait(of)
        self.seconds += perf_counter() - began
        self.asked += 1


@contextmanager
def waits(device: torch.device) -> Iterator[Waits]:
    """Count those in this block, of every thread."""
    seen = Waits()
    with ExitStack() as stack:
        for kind in (torch.cuda.Event, torch.cuda.Stream):
            wait = kind.synchronize

            def counted(of: Any, wait: Any = wait) -> None:
                seen.synchronize(of, wait)

            stack.enter_context(patch.object(kind, "synchronize", counted))
        told = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
            stack.callback(torch.cuda.set_sync_debug_mode, "default")
        yield seen
    lines = (f"{_short(one.filename)}:{one.lineno}" for one in told if HIDDEN in str(one.message))
    seen.hidden.update(lines)


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
