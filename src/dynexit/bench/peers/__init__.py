"""Other programs on the same weights and prompts, timed in turn with our methods: one file each.

A file is found by being here. It names itself, its variants and how to make it in `PEER`. A variant
stands among a benchmark's methods as `peer:NAME` or `peer:NAME:VARIANT`.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dynexit.errors import DynexitError

if TYPE_CHECKING:
    from dynexit.language_model import LanguageModel

PREFIX = "peer:"


@dataclass(frozen=True)
class PeerOutput:
    """A text: its new tokens without the EOS, and how long they took.

    `decoded` are the tokens that `decode_seconds` paid for: those after the first answer, which
    is the prefill's.
    """

    token_ids: list[int]
    prefill_seconds: float
    decode_seconds: float
    decoded: int


class Peer(Protocol):
    """A program that has loaded a checkpoint."""

    features: Mapping[str, Any]  # its version and what it was built with

    def generate(self, variant: str, prompt: Sequence[int], new_tokens: int) -> PeerOutput:
        """Greedy text after `prompt`."""


@dataclass(frozen=True)
class Kind:
    """A peer before it has loaded anything; "" among the variants is plain decoding."""

    name: str
    variants: tuple[str, ...]
    make: Callable[["LanguageModel"], Peer]

    @property
    def methods(self) -> list[str]:
        """What its variants are called among a benchmark's methods."""
        return [f"{PREFIX}{self.name}{':' if v else ''}{v}" for v in self.variants]


def folder_of(lm: "LanguageModel") -> Path:
    """The checkpoint that a peer loads, too.

    Raises:
        DynexitError: a model that was made in memory.
    """
    if lm.folder is None:
        raise DynexitError(f"{lm.name} is not in a folder that another program could load.")
    return lm.folder


@cache
def peers() -> Mapping[str, Kind]:
    """Every peer by name."""
    modules = sorted(m.name for m in pkgutil.iter_modules(__path__))
    found = (importlib.import_module(f"{__name__}.{module}") for module in modules)
    return {module.PEER.name: module.PEER for module in found if hasattr(module, "PEER")}


def is_peer(method: str) -> bool:
    """Whether a benchmark's method is a peer's."""
    return method.startswith(PREFIX)


def find_peer(method: str) -> tuple[Kind, str]:
    """The peer and the variant that `method` names.

    Raises:
        DynexitError: a peer or variant that does not exist.
    """
    name, _, variant = method.removeprefix(PREFIX).partition(":")
    kind = peers().get(name)
    if kind is None:
        raise DynexitError(f"peer {name!r} is not known: use one of {', '.join(sorted(peers()))}.")
    if variant not in kind.variants:
        known = ", ".join(filter(None, kind.variants))
        raise DynexitError(f"peer {name!r} has no variant {variant!r}: use one of {known}.")
    return kind, variant
