"""The group of processes that this one has joined, if any. Without PyTorch, so that a command can
refuse one early.
"""

from typing import TYPE_CHECKING

from dynexit.errors import DynexitError

if TYPE_CHECKING:
    from dynexit.model.ranks.group import Ranks

_joined: "list[Ranks]" = []


def current() -> "Ranks | None":
    """The group."""
    return _joined[0] if _joined else None


def set_current(ranks: "Ranks | None") -> None:
    """Remember the group that was joined, or that it was left."""
    _joined[:] = [] if ranks is None else [ranks]


def refuse_several(what: str) -> None:
    """Raises DynexitError where this process is one of several."""
    if (ranks := current()) is not None:
        raise DynexitError(
            f"{what} runs in one process, not in {ranks.size}: run it without torchrun."
        )
