"""The number of CPU threads. More threads than cores are slow, and many more stop the machine."""

import os

from dynexit.errors import DynexitError


def cores() -> int:
    """Of this machine."""
    return os.cpu_count() or 1


def check_threads(count: int | None) -> None:
    """Raises DynexitError for more threads than there are cores; None is the default."""
    if count is not None and not 1 <= count <= cores():
        raise DynexitError(
            f"{count} threads are not possible here: use 1 to {cores()}, the number of cores."
        )


def use_threads(count: int | None) -> None:
    """Compute with so many from now on; None leaves it at what it is, where that is bearable.

    Raises:
        DynexitError: as `check_threads`.
    """
    import torch  # what is asked for can be checked before that

    check_threads(count)
    wanted = count or min(torch.get_num_threads(), cores())  # the environment may ask for any
    if wanted != torch.get_num_threads():
        torch.set_num_threads(wanted)
