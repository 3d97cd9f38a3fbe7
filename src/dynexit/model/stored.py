"""Quantised weights as a checkpoint's files hold them, whatever the files' format."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import NamedTuple, Protocol

import numpy as np
import torch


class Blocks(NamedTuple):
    """Outputs of a matrix as the native library takes them: [outputs, bytes of a row], and the
    type of their blocks, a GGUF type's number or one of `native/formats/affine.h`. `mapped` rows
    are a file's pages, which stay in memory no longer than they are read.
    """

    rows: np.ndarray[tuple[int, int], np.dtype[np.uint8]]
    inputs: int
    type: int
    mapped: bool = False


@dataclass(frozen=True)
class Stored:
    """What files say of a weight.

    Attributes:
        type: its format in words.
        bytes: of all that the files hold of it.
        quantised: whether its numbers are no floats there.
    """

    shape: tuple[int, ...]
    type: str
    bytes: int
    quantised: bool

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)


class StoredWeights(Protocol):
    """A checkpoint's weights under the names of an unquantised one, and read as that is."""

    def keys(self) -> Iterable[str]:
        """All names."""

    def stored(self, name: str) -> Stored:
        """What the files say of it.

        Raises:
            DynexitError: a format that does not run, or tensors that are not what they should be.
        """

    def get_tensor(self, name: str) -> torch.Tensor:
        """Its numbers, in fp32 where they are quantised."""

    def blocks(self, name: str) -> Blocks | None:
        """A matrix as the native library takes it; None where it cannot be had so exactly."""

    def numbers(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        """Its numbers in bf16, fp16 or fp32, as the native library holds what stays in no blocks.

        Args:
            dtype: of models that are not quantised.
        """
