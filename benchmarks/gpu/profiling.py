"""Which kernels a pass runs, and how long each takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity

from gpu.part import Part

PASSES = 3


def profile(part: Part, action: Callable[[], object], file: Path) -> dict[str, Any]:
    """Of one pass: kernels, and milliseconds that the card is busy; a table goes into `file`."""
    on_card = part.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]
    action()
    part.wait()
    with torch.profiler.profile(activities=activities) as seen:
        for _ in range(PASSES):
            action()
        part.wait()
    by = f"self_{'cuda' if on_card else 'cpu'}_time_total"
    table = seen.key_averages().table(sort_by=by, row_limit=40, max_name_column_width=90)
    file.write_text(f"{PASSES} passes\n{table}\n")
    kernels = [event for event in seen.events() or [] if event.device_type == DeviceType.CUDA]
    busy = sum(event.time_range.elapsed_us() for event in kernels) / PASSES / 1e3
    return {"kernels": len(kernels) / PASSES, "busy_ms": busy, "table": file.name}
