"""The process in which generated code runs: `python -I code_runner.py FILE SECONDS MEMORY PARENT`.

Started by `code_execution.py`, which see. It does not import our package, which takes seconds.
"""

import os
import runpy
import sys
from pathlib import Path

# Unlike 0, no code that a program leaves by on its own.
PASSED, FAILED, UNLIMITED = 97, 98, 99
FILE_BYTES = 10 << 20
LIFETIME = Path(__file__).parents[1] / "lifetime.py"


def main(file: str, seconds: int, memory: int, parent: int) -> int:
    """Run `file` under limits; one of the codes above."""
    runpy.run_path(str(LIFETIME))["end_with_parent"](parent)
    try:
        set_limits(seconds, memory)
    except (ImportError, OSError, ValueError):
        return UNLIMITED
    try:
        runpy.run_path(file)
    except BaseException:  # also SystemExit: it skips the tests that follow
        return FAILED
    return PASSED


def set_limits(seconds: int, memory: int) -> None:
    """Limit this process for good: processor time, memory, file sizes, no core dumps."""
    import resource

    sys.dont_write_bytecode = True  # a compiled module that is cut off would stay so
    limits = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    code = main(sys.argv[1], *map(int, sys.argv[2:]))
    os._exit(code)  # whatever threads and exit handlers the program left behind
