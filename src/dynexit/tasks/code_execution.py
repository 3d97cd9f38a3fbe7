"""Runs generated programs in a process of their own, under limits of time, memory and files.

THIS IS NO SANDBOX. A program runs with the rights of the user who started it: it can read and
delete that user's files, use the network, and start processes that outlive it. The limits stop
accidents, such as endless loops and runaway memory, not malice. Where that is not enough, run the
whole benchmark in a container or a virtual machine.
"""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from dynexit.errors import DynexitError
from dynexit.tasks import code_runner

RUNNER = Path(code_runner.__file__)
SECONDS = 10.0
MEMORY = 1 << 30  # bytes of address space


def passes(program: str, seconds: float = SECONDS, memory: int = MEMORY) -> bool:
    """Whether `program` runs to its end: no exception, no exit, no limit reached.

    Raises:
        DynexitError: this system cannot set the limits.
    """
    if os.name != "posix":
        raise DynexitError(
            "generated code runs only on POSIX systems, where its resources can be limited."
        )
    with tempfile.TemporaryDirectory(prefix="dynexit-", ignore_cleanup_errors=True) as folder:
        file = Path(folder, "program.py")
        file.write_bytes(program.encode(errors="replace"))
        limits = [str(max(1, round(seconds))), str(memory), str(os.getpid())]
        code = _run([sys.executable, "-I", str(RUNNER), str(file), *limits], folder, seconds)
    if code == code_runner.UNLIMITED:
        raise DynexitError(
            "generated code was not run: this system refuses to limit its resources."
        )
    return code == code_runner.PASSED


def _run(command: list[str], folder: str, seconds: float) -> int | None:
    """The exit code; None where the time ran out. Nothing of its process group is left."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={"HOME": folder, "TMPDIR": folder, "PATH": os.defpath, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
