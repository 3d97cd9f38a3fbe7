"""One part in this process: `python -m gpu.part NAME FOLDER DEADLINE [--rehearse]`."""

import sys
import traceback
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from dynexit.lifetime import end_with_parent
from gpu.machine import machine
from gpu.results import Results


@dataclass
class Part:
    """What a part is given.

    Attributes:
        folder: where its files go.
        deadline: on the clock of `time.monotonic`: it is ended then.
        rehearse: tiny shapes, on the CPU.
    """

    name: str
    folder: Path
    deadline: float
    rehearse: bool

    def __post_init__(self) -> None:
        self.results = Results(self.folder / "results.json")
        self.device = torch.device("cpu" if self.rehearse else "cuda")

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - monotonic()

    def put(self, value: Any, *keys: str) -> None:
        """Keep a finding at once."""
        self.results.put(value, "parts", self.name, *keys)

    def say(self, text: str) -> None:
        """A line for whoever watches."""
        sys.stdout.write(f"[{self.name}, {self.left:.0f} s left] {text}\n")

    def wait(self) -> None:
        """Until the device has done everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def main() -> None:
    end_with_parent()
    name, folder, deadline, *rest = sys.argv[1:]
    part = Part(name, Path(folder), float(deadline), rehearse=bool(rest))
    if not part.rehearse and not torch.cuda.is_available():
        part.put("there is no CUDA device here", "error")
        sys.exit("There is no CUDA device here: --rehearse runs all parts on a CPU.")
    if "machine" not in part.results.values:
        part.results.put(machine(part.device), "machine")
    try:
        import_module(f"gpu.{name}").run(part)
    except Exception as error:
        part.put("".join(traceback.format_exception(error)[-6:])[-4_000:], "error")
        raise


if __name__ == "__main__":
    main()
