"""A command in a pseudo-terminal, and what stands on its screen."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pyte

SECONDS = 120.0  # that a busy machine may take for anything


class Terminal:
    """Runs `dynexit` with these arguments until the `with` block is left."""

    def __init__(self, *arguments: object, columns: int = 90, lines: int = 36, **variables: str):
        self._arguments, self._variables = map(str, arguments), variables
        self._screen = pyte.Screen(columns, lines)
        self._screen.write_process_input = self.type  # a terminal says where its cursor is
        self._stream = pyte.ByteStream(self._screen)

    def __enter__(self) -> "Terminal":
        self._ours, theirs = pty.openpty()
        size = struct.pack("HHHH", self._screen.lines, self._screen.columns, 0, 0)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
        self._running = subprocess.Popen(
            [sys.executable, "-c", RUN, *self._arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", **self._variables},
        )
        os.close(theirs)
        return self

    def __exit__(self, *_: object) -> None:
        if self._running.poll() is None:
            os.killpg(self._running.pid, signal.SIGKILL)
        self._running.wait()
        os.close(self._ours)

    @property
    def text(self) -> str:
        """The screen's lines, without the spaces at their ends."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    def colour_of(self, word: str) -> str:
        """Of the first letter of a word's last occurrence on the screen."""
        row = max(y for y, line in enumerate(self._screen.display) if word in line)
        return self._screen.buffer[row][self._screen.display[row].rindex(word)].fg

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def wait(self, words: str, absent: bool = False) -> str:
        """Read until `words` are on the screen, or no longer are; returns the screen's text."""
        until = time.monotonic() + SECONDS
        while (words in self.text) is absent:
            assert time.monotonic() < until, f"no {words!r} on this screen:\n{self.text}"
            assert self._read(), f"it ended without {words!r}:\n{self.text}"
        return self.text

    def end(self) -> int:
        """Read to the command's end; returns its exit code."""
        until = time.monotonic() + SECONDS
        while self._read():
            assert time.monotonic() < until, f"it does not end:\n{self.text}"
        return self._running.wait(SECONDS)

    def _read(self) -> bool:
        """Take what has come; False at the end."""
        if select.select([self._ours], [], [], 0.05)[0]:
            try:
                read = os.read(self._ours, 65536)
            except OSError:  # Linux says so where the other side is closed
                return False
            self._stream.feed(read)
            return bool(read)
        return True


# In the process itself, so that Ctrl-C goes to it: the terminal becomes the session's.
RUN = (
    "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "sys.argv[0] = 'dynexit'; from dynexit.__main__ import main; main()"
)
