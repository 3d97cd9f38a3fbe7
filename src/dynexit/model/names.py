"""Names of dtypes, devices and runtimes, which can be checked before PyTorch is imported."""

import re
from collections.abc import Sequence

from dynexit.errors import DynexitError

DTYPES = {  # as PyTorch calls them
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "fp16": "float16",
    "float16": "float16",
    "fp32": "float32",
    "float32": "float32",
    "fp64": "float64",
    "float64": "float64",
}
RUNTIMES = ("native", "graphs", "eager")
QUANTISED = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0")  # what the gguf package rounds to
WRITTEN = ("f32", "f16", "bf16", *QUANTISED)  # of a GGUF file's matrices
SYNTHETIC = (*WRITTEN, "q4_k_m")  # of random ones


def check_dtype(name: str) -> str:
    """PyTorch's own name of a dtype.

    Raises:
        DynexitError: a name that is not known.
    """
    if not isinstance(name, str) or name not in DTYPES:
        raise DynexitError(f"dtype {name!r} is not known: use one of {', '.join(DTYPES)}.")
    return DTYPES[name]


def check_names(dtype: str | None, device: str | None, runtime: str | None) -> None:
    """Raises DynexitError for a name that is not known; None is what is best here."""
    if dtype is not None:
        check_dtype(dtype)
    if device is not None:
        split_devices(device)
    check_runtime(runtime)


def check_runtime(name: str | None) -> None:
    """Raises DynexitError for a runtime that is not known; None is the first that is possible."""
    if name not in (None, *RUNTIMES):
        raise DynexitError(f"runtime {name!r} is not known: use {', '.join(RUNTIMES)}.")


def check_written(name: str, known: Sequence[str] = WRITTEN) -> str:
    """The type of a GGUF file's matrices that a name means, in lower case.

    Raises:
        DynexitError: one that cannot be written.
    """
    if name.lower() not in known:
        raise DynexitError(f"type {name!r} cannot be written: use one of {', '.join(known)}.")
    return name.lower()


def split_devices(names: str) -> list[str]:
    """The devices that a list such as "cuda:0,cuda:1" names.

    Raises:
        DynexitError: a name of another form than cpu, cuda or cuda:N.
    """
    devices = [name.strip() for name in names.split(",")]
    for name in devices:
        if not re.fullmatch(r"(cpu|cuda)(:\d{1,3})?", name):
            raise DynexitError(f"device {name!r} is not known: use cpu, cuda or cuda:N.")
    return devices
