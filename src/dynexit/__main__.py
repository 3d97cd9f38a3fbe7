"""`dynexit` and `python -m dynexit`: an interrupt prints one line, even during imports."""

import os
import signal
from types import FrameType

from dynexit.errors import INTERRUPTED

IMPORTING = "<frozen importlib._bootstrap>"
CLEARED = b"\r\x1b[K\x1b[?25h"  # the spinner's line is empty, and the cursor is back


def main() -> None:
    """Run a command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is to be ignored
        signal.signal(signal.SIGINT, _interrupt)
    from dynexit.cli import main as run
    from dynexit.cli.together import is_one_of_several, run_together

    if is_one_of_several():
        run_together(run)
    else:
        run()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End at once while a module is imported: modules turn a KeyboardInterrupt into warnings, other
    exceptions or a crash. At any other time raise it.
    """
    del number
    while frame is not None:
        if frame.f_code.co_filename == IMPORTING:
            os.write(2, (CLEARED if os.isatty(2) else b"") + b"interrupted\n")
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
