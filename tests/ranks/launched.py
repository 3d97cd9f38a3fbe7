"""Commands in several processes that torchrun starts."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

TORCHRUN = Path(sys.executable).with_name("torchrun")


class Launched:
    """A command in so many processes, and what it has written so far."""

    def __init__(self, size: int, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [TORCHRUN, "--standalone", f"--nproc-per-node={size}", "-m", "dynexit"]
            + [str(one) for one in arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            start_new_session=True,
        )
        self.out, self.err = bytearray(), bytearray()
        self._readers = [
            threading.Thread(target=self._read, args=pair)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream, into) -> None:
        while got := os.read(stream.fileno(), 4096):
            into += got

    def until(self, pattern: str, seconds: float = 120) -> re.Match:
        """What matches, once it is written."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(pattern, self.said):
                return found
            time.sleep(0.05)
        found = re.search(pattern, self.said)
        assert found, self.said
        return found

    @property
    def said(self) -> str:
        return (self.out + self.err).decode(errors="replace")

    def rank(self, number: int) -> psutil.Process:
        """One of its processes."""
        below = psutil.Process(self.process.pid).children()
        return next(p for p in below if p.environ().get("RANK") == str(number))

    def wait(self, seconds: float = 120) -> int:
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(10)
        return code

    def sentences(self) -> list[str]:
        """What our processes wrote on standard error, without torchrun's report."""
        lines = self.err.decode(errors="replace").splitlines()
        return [line for line in lines if line.startswith(("error:", "warning:", "interrupted"))]


@contextmanager
def launched(size: int, *arguments: object):
    """It is ended in any case."""
    running = Launched(size, *arguments)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            os.killpg(running.process.pid, signal.SIGKILL)
        running.wait()
