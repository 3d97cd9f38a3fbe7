"""The compiled library through ctypes. Structures mirror `native/api.h` field by field."""

import ctypes
import os
from collections.abc import Callable
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_uint32,
)
from ctypes import c_void_p as pointer
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import dynexit.model.native
from dynexit.errors import DynexitError

NO_MEMORY = 1  # of `dx_result`; what else is not 0 has been refused


class Format(IntEnum):
    """How numbers are stored."""

    BF16 = 0
    FP32 = 1
    INT8 = 2
    AS_GIVEN = 3
    FP16 = 4


class Matrix(IntEnum):
    """Which linear layer of a decoder layer, or the head."""

    QKV = 0
    OUT = 1
    GATE_UP = 2
    DOWN = 3
    HEAD = 4
    EMBEDDING = 5


class Vector(IntEnum):
    """Which norm's gains."""

    ATTENTION_NORM = 0
    MLP_NORM = 1
    QUERY_NORM = 2
    KEY_NORM = 3
    FINAL_NORM = 4


class Shape(Structure):
    """`dx_shape`."""

    _fields_ = [
        *((name, c_int32) for name in ("hidden", "intermediate", "layers", "heads", "kv_heads")),
        *((name, c_int32) for name in ("head_dim", "weights", "cached")),
        ("epsilon", c_float),
    ]


class NativeBlocks(Structure):
    """`dx_blocks`."""

    _fields_ = [("rows", pointer), ("outputs", c_int32), ("type", c_int32), ("mapped", c_int32)]


class NativeAngles(Structure):
    """`dx_angles`."""

    _fields_ = [("cos", pointer), ("sin", pointer), ("positions", c_int32)]


class NativeSpan(Structure):
    """`dx_span`."""

    _fields_ = [
        ("cache", pointer),
        *((name, c_int32) for name in ("start", "first", "length", "slot")),
        ("parents", POINTER(c_int32)),
        *(("sinks", c_int32), ("recent", c_int32)),
    ]


class NativeDrafting(Structure):
    """`dx_drafting`."""

    _fields_ = [
        *((name, c_int32) for name in ("exit_layer", "nodes", "depth", "ranks", "limit", "bins")),
        *((name, c_int32) for name in ("num_eos", "num_row_floors", "num_level_floors", "finish")),
        *((name, c_int32) for name in ("whole", "sinks", "recent")),
        ("threshold", c_float),
        *((name, POINTER(c_float)) for name in ("row_floors", "level_floors", "odds")),
        ("eos", POINTER(c_int64)),
        ("skips", c_char_p),
        ("text_tokens", pointer),
    ]


class NativeDrafted(Structure):
    """`dx_drafted`."""

    _fields_ = [
        ("tokens", POINTER(c_int64)),
        *((name, POINTER(c_int32)) for name in ("parents", "ranks")),
        *(("confidences", POINTER(c_float)), ("hidden", pointer), ("states", pointer)),
        ("before", pointer),
        ("drafted", c_int32),
    ]


class NativeReadings(Structure):
    """`dx_readings`."""

    _fields_ = [
        *(("best", POINTER(c_int64)), ("best_logit", POINTER(c_float))),
        *(("log_sum", POINTER(c_float)), ("vocabulary_size", c_int32), ("sums", c_int32)),
    ]


class NativeReading(Structure):
    """`dx_reading`."""

    _fields_ = [
        *(("memory", pointer), ("bytes", c_int64), ("ahead", c_int64)),
        ("streams", c_int32),
    ]


class Runtime(Structure):
    """`dx_runtime`: one instruction set's functions. A call releases the interpreter's lock."""

    _fields_ = [
        ("name", c_char_p),
        ("problem", CFUNCTYPE(c_char_p)),
        ("model_new", CFUNCTYPE(c_int, POINTER(Shape), c_int, POINTER(pointer))),
        ("model_free", CFUNCTYPE(None, pointer)),
        ("model_bytes", CFUNCTYPE(c_int64, pointer)),
        (
            "set_matrix",
            CFUNCTYPE(c_int, pointer, c_int, c_int, pointer, c_int, c_int, c_int, pointer),
        ),
        ("has_format", CFUNCTYPE(c_int, c_int)),
        (
            "set_blocks",
            CFUNCTYPE(
                *(c_int, pointer, c_int, c_int, POINTER(NativeBlocks), c_int, c_int, pointer),
            ),
        ),
        ("set_vector", CFUNCTYPE(c_int, pointer, c_int, c_int, pointer, c_int)),
        ("set_embedding", CFUNCTYPE(c_int, pointer, pointer, c_int, c_int)),
        ("set_draft_tokens", CFUNCTYPE(c_int, pointer, POINTER(c_int64), c_int)),
        ("text_tokens_new", CFUNCTYPE(c_int, pointer, c_int, POINTER(pointer))),
        ("text_tokens_free", CFUNCTYPE(None, pointer)),
        (
            "text_tokens_put",
            CFUNCTYPE(c_int, pointer, pointer, c_int, POINTER(c_int64), c_int),
        ),
        ("convert", CFUNCTYPE(c_int, pointer, pointer, c_int, c_int)),
        ("cache_new", CFUNCTYPE(c_int, pointer, POINTER(pointer))),
        ("cache_free", CFUNCTYPE(None, pointer)),
        ("cache_bytes", CFUNCTYPE(c_int64, pointer)),
        ("cache_move", CFUNCTYPE(c_int, pointer, c_int, c_int)),
        ("cache_block_bytes", CFUNCTYPE(c_int64, pointer)),
        ("cache_save", CFUNCTYPE(c_int, pointer, c_int, pointer)),
        ("cache_restore", CFUNCTYPE(c_int, pointer, c_int, pointer)),
        ("gather", CFUNCTYPE(c_int, pointer, pointer, c_int, pointer)),
        (
            "run",
            CFUNCTYPE(
                c_int,
                *(pointer, POINTER(NativeSpan), c_int, pointer, c_int, c_int),
                *(POINTER(NativeAngles), pointer, c_int, c_char_p),
            ),
        ),
        (
            "draft",
            CFUNCTYPE(
                c_int,
                *(pointer, POINTER(NativeDrafting), pointer, c_int, c_int64),
                *(POINTER(NativeAngles), POINTER(NativeDrafted)),
            ),
        ),
        (
            "unembed",
            CFUNCTYPE(c_int, pointer, pointer, *(c_int,) * 3, pointer, c_int, *(pointer,) * 4),
        ),
        (
            "verify",
            CFUNCTYPE(
                c_int,
                *(pointer, POINTER(NativeSpan), POINTER(c_int64), pointer, c_int, c_int),
                *(POINTER(NativeAngles), POINTER(NativeReadings)),
            ),
        ),
        ("read", CFUNCTYPE(c_int, pointer, POINTER(NativeReading), POINTER(c_uint32))),
        ("multiplied", CFUNCTYPE(c_int, c_int)),
        ("tuned", c_int32),
    ]


class Uncopied:
    """Owns memory of the library, so it must not be copied: that would free it twice."""

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise DynexitError(
            f"a {type(self).__name__} cannot be copied or pickled: load the model again instead."
        )


class Held(Uncopied):
    """A model, a cache or a text's tokens in the library's memory, freed with this object."""

    def __init__(self, free: Callable[[int], None]) -> None:
        self.handle, self._free = 0, free

    @classmethod
    def of(cls, runtime: Any, kind: str, *given: Any) -> "Held":
        """What the library makes: a "model", a "cache" or "text_tokens".

        Raises:
            DynexitError: as `check`.
        """
        held, made = cls(getattr(runtime, f"{kind}_free")), pointer()
        check(runtime, getattr(runtime, f"{kind}_new")(*given, byref(made)))
        held.handle = made.value or 0
        return held

    def __del__(self) -> None:
        if self.handle:
            self._free(self.handle)


def check(runtime: Any, result: int) -> None:
    """Check what a function of the library returned.

    Raises:
        DynexitError: it ran out of memory, or refused what it was given.
    """
    if result == NO_MEMORY:
        raise DynexitError(
            "out of memory: shorten the prompt, generate fewer tokens, or use a smaller dtype."
        )
    if result:
        raise DynexitError(runtime.problem().decode())


def find_library() -> Path | None:
    """The compiled library: $DYNEXIT_LIBRARY, else the installed one.

    None where the install found no compiler.
    """
    if named := os.environ.get("DYNEXIT_LIBRARY"):
        return Path(named)
    folders = [Path(folder) for folder in dynexit.model.native.__path__]
    return next((f for folder in folders for f in sorted(folder.glob("libdynexit.*"))), None)


def is_fast() -> bool:
    """Whether the library was built for this machine's vector instructions."""
    return any(runtime.tuned for runtime in runtimes().values())


@cache
def library() -> Any:
    """The library itself; None where there is none for this machine."""
    file = find_library()
    if file is None:
        return None
    try:
        return ctypes.CDLL(str(file))
    except OSError:  # built for another machine
        return None


@cache
def runtimes() -> dict[str, Any]:
    """Instruction sets that were built and that this machine has, the fastest first."""
    loaded = library()
    if loaded is None:
        return {}
    loaded.dx_runtime_at.restype = POINTER(Runtime)
    found: dict[str, Any] = {}
    while at := loaded.dx_runtime_at(len(found)):
        found[at.contents.name.decode()] = at.contents
    return found
