"""Groups of real processes: this one is rank 0, the others run what it announces."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import torch

from dynexit import LanguageModel
from dynexit.model.loading import load_model, load_shape
from dynexit.model.ranks.group import Seat, join, leave
from dynexit.model.ranks.loading import load_sharded

HELPER = """
import sys
from dynexit.model.ranks.group import Seat, join
from dynexit.model.ranks.working import work
{change}
rank, size, address = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
work(join(Seat(rank, size, address), lambda sentence: print(sentence, file=sys.stderr)))
"""
CPU = torch.device("cpu")


def helpers(size: int, folder: Path, change: str = "") -> list[subprocess.Popen]:
    """The processes beside rank 0, which run `change` first."""
    code = HELPER.format(change=change)
    command = [sys.executable, "-c", code]
    return [
        subprocess.Popen([*command, str(rank), str(size), f"file://{folder}/meet"])
        for rank in range(1, size)
    ]


@contextmanager
def joined(size: int, folder: Path):
    """A group, until its end; all processes must end well."""
    others = helpers(size, folder)
    try:
        ranks = join(Seat(0, size, f"file://{folder}/meet"), sys.stderr.write)
        yield ranks
        leave()
        assert [other.wait(10) for other in others] == [0] * (size - 1)
    finally:
        for other in others:
            other.kill()
            other.wait()


def shared(ranks, folder: Path, dtype=torch.float64):
    """A checkpoint that all processes hold together."""
    return load_sharded(ranks, None, folder, load_shape(folder), dtype, [CPU])


def alone(folder: Path, dtype=torch.float64):
    """The same in this process."""
    return load_model(folder, load_shape(folder), dtype, CPU)


def text_of(model, prompt, method="vanilla", **options) -> list[int]:
    """Only the new tokens."""
    return LanguageModel(model).generate(prompt, method, **options).token_ids
