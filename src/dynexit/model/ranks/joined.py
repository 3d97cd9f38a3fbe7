"""Whether this process is one of several that hold models together. Without PyTorch, so that a
command can refuse it early.
"""

from dynexit.errors import DynexitError

_sizes: list[int] = []


def set_joined(size: int) -> None:
    """Remember how many processes there are; 1 is this one alone."""
    _sizes[:] = [size]


def refuse_several(what: str) -> None:
    """Raises DynexitError where this process is one of several."""
    if _sizes and _sizes[0] > 1:
        raise DynexitError(
            f"{what} runs in one process, not in {_sizes[0]}: run it without torchrun."
        )
