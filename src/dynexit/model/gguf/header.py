"""A GGUF file's header: metadata, and where each tensor lies.

Everything that a header claims is held against the file's size before it is used, so that a
damaged or hostile file costs one sentence and no memory. The `gguf` package's own reader trusts its
input and takes seconds for a vocabulary; its tables of types and sizes are used here.
"""

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from gguf.constants import (
    GGML_QUANT_SIZES,
    GGUF_DEFAULT_ALIGNMENT,
    GGMLQuantizationType,
    GGUFValueType,
)

from dynexit.errors import DynexitError, reason

Rows = np.ndarray[tuple[int, int], np.dtype[np.uint8]]

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_DIMENSIONS = 4
MOST_ALIGNMENT = 2**20
LONGEST_NAME = 2**16
SCALARS = {
    GGUFValueType.UINT8: "B",
    GGUFValueType.INT8: "b",
    GGUFValueType.UINT16: "H",
    GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I",
    GGUFValueType.INT32: "i",
    GGUFValueType.FLOAT32: "f",
    GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "Q",
    GGUFValueType.INT64: "q",
    GGUFValueType.FLOAT64: "d",
}
LENGTH = struct.Struct("<Q")  # of a string
SMALLEST_ENTRY = 13  # bytes of a key's length, a value's type, and a value
SMALLEST_TENSOR = 24  # of a name's length, a number of dimensions, a type and an offset


@dataclass(frozen=True)
class Strings:
    """An array of strings, of which only the place is kept: vocabularies and merges are large."""

    count: int
    file: Path
    offset: int

    def read(self) -> list[str]:
        """The strings. Raises UnicodeDecodeError where they are none."""
        found, at, length = [], self.offset, LENGTH.unpack_from
        with (
            self.file.open("rb") as opened,
            mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as memory,
        ):
            for _ in range(self.count):
                start = at + LENGTH.size
                at = start + length(memory, at)[0]
                found.append(memory[start:at].decode())
        return found


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies. `shape` is in PyTorch's order, `offset` from the file's beginning."""

    name: str
    file: Path
    shape: tuple[int, ...]
    type: GGMLQuantizationType
    offset: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, a whole number of blocks."""
        inputs, size = GGML_QUANT_SIZES[self.type]
        return self.shape[-1] // inputs * size

    @property
    def bytes(self) -> int:
        """Bytes of all of it."""
        return prod(self.shape[:-1]) * self.row_bytes

    def read(self, file: "MappedFile | None" = None) -> Rows:
        """Its rows as they lie in the file, [rows, bytes].

        Args:
            file: where the file is mapped already.
        """
        file = file or MappedFile(self.file)
        rows = file.bytes[self.offset : self.offset + self.bytes]
        return rows.reshape(prod(self.shape[:-1]), self.row_bytes)


class MappedFile:
    """A file in memory, page by page as it is read."""

    def __init__(self, file: Path) -> None:
        with file.open("rb") as opened:
            self._memory = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        self.bytes = np.frombuffer(self._memory, np.uint8)

    def let_go(self, tensor: Tensor) -> None:
        """Free the pages of a tensor; they are read anew if it is."""
        if hasattr(mmap, "MADV_DONTNEED"):
            start = tensor.offset // mmap.PAGESIZE * mmap.PAGESIZE
            length = tensor.offset + tensor.bytes - start
            self._memory.madvise(mmap.MADV_DONTNEED, start, length)


@dataclass(frozen=True)
class Header:
    """What a file, or all parts of a split one, say of themselves."""

    file: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def read_header(file: Path) -> Header:
    """The header of one file.

    Raises:
        DynexitError: it cannot be read, is no GGUF file, or claims what is not there.
    """
    try:
        with file.open("rb") as opened:
            if not (size := file.stat().st_size):
                raise DynexitError(f"{file} is empty: download it again.")
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as memory:
                return _Reader(file, memory, size).header()
    except OSError as error:
        raise DynexitError(f"{file} cannot be read: {reason(error)}.") from error


class _Reader:
    """Reads a header from its beginning to its end, once."""

    def __init__(self, file: Path, memory: mmap.mmap, size: int) -> None:
        self._file, self._memory, self._size, self._at = file, memory, size, 0

    def header(self) -> Header:
        tensors, entries = self._counts()
        metadata: dict[str, Any] = {}
        for _ in range(entries):
            key = self._string("a metadata key", LONGEST_NAME)
            if key in metadata:
                raise self._damage(f"metadata key {key!r} stands there twice")
            metadata[key] = self._value(key)
        listed = [self._tensor() for _ in range(tensors)]
        return Header(self._file, metadata, self._placed(listed, self._alignment(metadata)))

    def _counts(self) -> tuple[int, int]:
        if self._memory[:4] != MAGIC:
            raise DynexitError(f"{self._file} is not a GGUF file: it does not begin with 'GGUF'.")
        self._at = 4
        version = self._number("I")
        if version not in VERSIONS:
            if version & 0xFFFF == 0:
                raise DynexitError(f"{self._file} is big-endian GGUF: convert it to little-endian.")
            raise DynexitError(f"{self._file} is GGUF version {version}: use version 2 or 3.")
        tensors, entries = self._number("Q"), self._number("Q")
        self._check_count(entries, SMALLEST_ENTRY, "metadata entries")
        self._check_count(tensors, SMALLEST_TENSOR, "tensors")
        return tensors, entries

    def _alignment(self, metadata: Mapping[str, Any]) -> int:
        alignment = metadata.get("general.alignment", GGUF_DEFAULT_ALIGNMENT)
        whole = isinstance(alignment, int) and 0 < alignment <= MOST_ALIGNMENT
        if not whole or alignment & (alignment - 1):
            raise self._damage(f"general.alignment is {alignment!r}, not a power of two")
        return int(alignment)

    def _value(self, key: str) -> Any:
        kind = self._kind(key)
        if kind is GGUFValueType.STRING:
            return self._string(f"the value of {key!r}")
        if kind is not GGUFValueType.ARRAY:
            return self._number(SCALARS[kind])
        inner, count = self._kind(key), self._number("Q")
        if inner is GGUFValueType.ARRAY:
            raise self._damage(f"metadata {key!r} is an array of arrays")
        if inner is GGUFValueType.STRING:
            self._check_count(count, 8, f"strings in {key!r}")
            start = self._at
            self._skip_strings(count, key)
            return Strings(count, self._file, start)
        size = struct.calcsize(SCALARS[inner])
        self._check_count(count, size, f"numbers in {key!r}")
        start = self._skip(count * size, key)
        return np.frombuffer(self._memory[start : self._at], f"<{SCALARS[inner]}")

    def _skip_strings(self, count: int, key: str) -> None:
        """Go past strings. A vocabulary has 100,000 of them, so a call for each would take long."""
        at, last, length = self._at, self._size - LENGTH.size, LENGTH.unpack_from
        for _ in range(count):
            if at > last:
                raise self._damage(f"it ends within a string in {key!r}")
            at += LENGTH.size + length(self._memory, at)[0]
        self._skip(at - self._at, f"a string in {key!r}")

    def _kind(self, key: str) -> GGUFValueType:
        kind = self._number("I")
        if kind not in set(GGUFValueType):
            raise self._damage(f"metadata {key!r} has type {kind}, which is none")
        return GGUFValueType(kind)

    def _tensor(self) -> tuple[str, tuple[int, ...], GGMLQuantizationType, int]:
        name = self._string("a tensor's name", LONGEST_NAME)
        dimensions = self._number("I")
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise self._damage(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(reversed([self._number("Q") for _ in range(dimensions)]))
        kind, offset = self._number("I"), self._number("Q")
        if kind not in set(GGMLQuantizationType):
            raise DynexitError(f"{self._file}: tensor {name!r} has the unknown type {kind}.")
        return name, shape, GGMLQuantizationType(kind), offset

    def _placed(
        self, listed: list[tuple[str, tuple[int, ...], GGMLQuantizationType, int]], alignment: int
    ) -> dict[str, Tensor]:
        """Tensors where they lie, which must be inside the file and beside one another."""
        start = -(-self._at // alignment) * alignment
        tensors: dict[str, Tensor] = {}
        for name, shape, kind, offset in listed:
            tensor = Tensor(name, self._file, shape, kind, start + offset)
            if name in tensors:
                raise self._damage(f"tensor {name!r} stands there twice")
            if min(shape) < 1 or shape[-1] % GGML_QUANT_SIZES[kind][0]:
                raise self._damage(f"tensor {name!r} of {kind.name} has shape {list(shape)}")
            if offset % alignment:
                raise self._damage(f"tensor {name!r} is not aligned to {alignment} bytes")
            if tensor.offset + tensor.bytes > self._size:
                raise self._damage(f"tensor {name!r} ends past the file's {self._size} bytes")
            tensors[name] = tensor
        ordered = sorted(tensors.values(), key=lambda t: t.offset)
        for one, following in pairwise(ordered):
            if one.offset + one.bytes > following.offset:
                raise self._damage(f"tensors {one.name!r} and {following.name!r} overlap")
        return tensors

    def _check_count(self, count: int, each: int, what: str) -> None:
        if count * each > self._size - self._at:
            raise self._damage(f"it claims {count} {what}, more than its {self._size} bytes hold")

    def _string(self, what: str, longest: int | None = None) -> str:
        length = self._number("Q")
        if longest is not None and length > longest:
            raise self._damage(f"{what} has {length} bytes")
        start = self._skip(length, what)
        try:
            return self._memory[start : self._at].decode()
        except UnicodeDecodeError:
            raise self._damage(f"{what} is not UTF-8") from None

    def _number(self, form: str) -> Any:
        size = struct.calcsize(form)
        start = self._skip(size, "its header")
        return struct.unpack_from(f"<{form}", self._memory, start)[0]

    def _skip(self, size: int, what: str) -> int:
        """Go past `size` bytes; returns where they begin."""
        start = self._at
        if size > self._size - start:
            raise self._damage(f"it ends within {what}")
        self._at += size
        return start

    def _damage(self, what: str) -> DynexitError:
        return DynexitError(f"{self._file} is damaged: {what}. Download it again.")
